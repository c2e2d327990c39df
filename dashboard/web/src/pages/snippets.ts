// The filled-in snippets of "Add an application". What they call is in include/si/si.h and docs/.

export interface Wanted {
  url: string;
  key: string;
  app: string;
  env: string;
}

/* Strings as C and Lua write them: names come from people. */
function quoted(text: string): string {
  return '"' + text.replace(/[\\"]/g, '\\$&').replace(/[\n\r\0]/g, ' ') + '"';
}

/* C reads ??/ as a backslash. */
function literal(text: string): string {
  return quoted(text).replace(/\?(?=\?)/g, '?\\');
}

function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}

export const LANGUAGES = [
  {id: 'run', label: 'any program', file: 'shell'},
  {id: 'c', label: 'C', file: 'main.c'},
  {id: 'cpp', label: 'C++', file: 'main.cpp'},
  {id: 'lua', label: 'Lua', file: 'app.lua'},
] as const;

export type Language = (typeof LANGUAGES)[number]['id'];

function run({url, key, app, env}: Wanted): string {
  return `export SI_DASHBOARD_URL=${shell(url)}
export SI_AGENT_KEY=${shell(key)}
export SI_APP_NAME=${shell(app)}
export SI_APP_ENVIRONMENT=${shell(env)}

# starts your program observed; nothing needs to be recompiled
si run -- ./your-program --its --arguments
`;
}

function c({url, key, app, env}: Wanted): string {
  return `#include <si/si.h>
#include <stdio.h>

int main(void) {
    si_options options;
    si_options_init(&options);
    options.dashboard_url = ${literal(url)};
    options.agent_key = ${literal(key)};
    options.app_name = ${literal(app)};
    options.app_environment = ${literal(env)};

    si_runtime *runtime;
    int error = si_runtime_open(&runtime, &options);
    if (error) fprintf(stderr, "si: %s\\n", si_strerror(error)); /* the program goes on without */

    SI_SEGMENT("start-up") {
        /* your code */
    }

    si_runtime_close(runtime, 2000);
    return 0;
}

/* cc main.c $(pkg-config --cflags --libs si) */
`;
}

function cpp({url, key, app, env}: Wanted): string {
  return `#include <si/si.h>
#include <iostream>

int main() {
    si_options options;
    si_options_init(&options);
    options.dashboard_url = ${literal(url)};
    options.agent_key = ${literal(key)};
    options.app_name = ${literal(app)};
    options.app_environment = ${literal(env)};

    si_runtime *runtime = nullptr;
    if (int error = si_runtime_open(&runtime, &options)) std::cerr << "si: " << si_strerror(error) << '\\n';

    {
        si::segment measured("start-up");
        // your code
    }

    si_runtime_close(runtime, 2000);
}

// c++ main.cpp $(pkg-config --cflags --libs si)
`;
}

function lua({url, key, app, env}: Wanted): string {
  return `local si = require "si"

local runtime <close> = assert(si.open {
  dashboard_url = ${quoted(url)},
  agent_key = ${quoted(key)},
  app_name = ${quoted(app)},
  app_environment = ${quoted(env)},
})

do
  local measured <close> = si.segment "start-up"
  -- your code
end
`;
}

export function snippet(language: Language, wanted: Wanted): string {
  return {run, c, cpp, lua}[language](wanted);
}
