// The side bar: which application, and its pages. Types of profiles appear when an agent has sent one.
import {computed, effect, signal} from '@preact/signals';
import {useEffect} from 'preact/hooks';
import {get} from '../api/client';
import type {App, Overview} from '../api/types';
import {appPath, context, hrefKeeping, path} from '../app/router';
import {may, session, signOut, user} from '../app/session';
import {now} from '../app/time';
import {typeTitle} from '../profile/measure';
import {Popover} from './basics';
import {Icon, type IconName, Logo} from './icon';

export const apps = signal<App[] | null>(null);
export const appsError = signal('');
const types = signal<string[]>(['cpu']);
export const menuOpen = signal(false);

let asked = 0;

/** Reloads the list of applications; every page's side bar and the front page share it. */
export async function loadApps(): Promise<void> {
  const turn = ++asked;
  try {
    const answer = await get('/apps') as {apps: App[]};
    if (turn === asked) {
      apps.value = answer.apps;
      appsError.value = '';
    }
  } catch (cause) {
    if (turn === asked) appsError.value = cause instanceof Error ? cause.message : String(cause);
  }
}

export function startNav(): void {
  effect(() => {
    if (user.value && now.value) void loadApps(); // follows the clock
  });
  const place = computed(() => user.value && context.value ? JSON.stringify(context.value) : '');
  effect(() => {
    types.value = ['cpu'];
    if (!place.value) return;
    const {app, env} = JSON.parse(place.value) as {app: string; env: string};
    const to = Date.now();
    get('/overview', {app, env, from: to - 86_400_000, to}).then((answer) => {
      const found = ((answer as Overview).types ?? []).map((t) => t.type);
      if (place.peek() === JSON.stringify({app, env})) types.value = ['cpu', ...found.filter((t) => t !== 'cpu')];
    }, () => undefined); // the page itself says what is wrong
  });
  effect(() => {
    if (path.value) menuOpen.value = false; // whenever the page changes
  });
}

interface Destination {
  text: string;
  hint: string;
  href: string;
}

const APP_PAGES: [string, string][] = [['overview', 'Overview'], ['segments', 'Segments'], ['errors', 'Errors'], ['health', 'Health']];

export const destinations = computed<Destination[]>(() => {
  const out: Destination[] = [];
  const here = context.value;
  const list = [...(apps.value ?? [])].sort((a, b) => Number(b.app === here?.app && b.env === here.env) - Number(a.app === here?.app && a.env === here?.env));
  for (const {app, env} of list) {
    const hint = `${app} · ${env}`;
    out.push({text: `${app} ${env} Overview`, hint, href: appPath(app, env, 'overview')});
    out.push({text: `${app} ${env} CPU hot spots`, hint, href: appPath(app, env, 'profiles/cpu')});
    for (const [page, title] of APP_PAGES.slice(1)) out.push({text: `${app} ${env} ${title}`, hint, href: appPath(app, env, page)});
  }
  const pages: [string, string][] = [['/', 'Applications'], ['/alerts', 'Alerts'], ['/silences', 'Silences'], ['/rules', 'Rules'], ['/sources', 'Sources'], ['/add', 'Add an application'],
    ['/settings/team', 'Settings: team'], ['/settings/keys', 'Settings: agent keys'], ['/settings/audit', 'Settings: audit']];
  for (const [href, text] of pages) out.push({text, hint: '', href});
  return out;
});

function Item({href, icon, text, badge}: {href: string; icon: IconName; text: string; badge?: number}) {
  const target = new URL(href, window.location.href).pathname;
  const current = path.value === target || (target === '/settings/team' && path.value.startsWith('/settings/')) || (target !== '/' && path.value.startsWith(target + '/'));
  return (
    <a href={href} {...(current ? {'aria-current': 'page' as const} : {})}>
      <Icon name={icon} /><span class="cut">{text}</span>{badge ? <span class="pill plain bad">{badge}</span> : null}
    </a>
  );
}

function Switcher() {
  const here = context.value;
  return (
    <div class="pop">
      <Popover left label="Choose an application" text={<span class="cut">{here ? `${here.app} · ${here.env}` : 'Choose an application'}</span>}>
        {(close) => <>
          {(apps.value ?? []).map(({app, env, firing}) => (
            <a class="item" key={`${app}\n${env}`} href={hrefKeeping(appPath(app, env, 'overview'), {src: null})} onClick={close} {...(here?.app === app && here.env === env ? {'aria-current': 'true' as const} : {})}>
              <span class="grow cut">{app} <span class="muted">{env}</span></span>{firing > 0 && <span class="pill plain bad">{firing}</span>}
            </a>
          ))}
          <hr />
          <a class="item" href="/" onClick={close}>All applications</a>
          <a class="item" href="/add" onClick={close}>Add an application</a>
        </>}
      </Popover>
    </div>
  );
}

export function Sidebar() {
  const here = context.value;
  const scope = here ? {app: here.app, env: here.env} : {};
  const firing = (apps.value ?? []).filter((a) => !here || (a.app === here.app && a.env === here.env)).reduce((sum, a) => sum + a.firing, 0);
  const who = user.value;
  useEffect(() => {
    if (!menuOpen.value) return undefined;
    const onKey = (event: KeyboardEvent): void => { if (event.key === 'Escape') menuOpen.value = false; };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [menuOpen.value]);
  return (
    <aside class={'sidebar' + (menuOpen.value ? ' open' : '')} id="sidebar">
      <a class="brand" href="/" title="Applications"><Logo />si <small>{session.value?.version}</small></a>
      <Switcher />
      <nav class="nav" aria-label="Pages">
        {here && <>
          <Item href={hrefKeeping(appPath(here.app, here.env, 'overview'))} icon="overview" text="Overview" />
          {types.value.map((type) => <Item key={type} href={hrefKeeping(appPath(here.app, here.env, 'profiles/' + encodeURIComponent(type)))} icon="flame" text={typeTitle(type)} />)}
          <Item href={hrefKeeping(appPath(here.app, here.env, 'segments'))} icon="segment" text="Segments" />
          <Item href={hrefKeeping(appPath(here.app, here.env, 'errors'))} icon="error" text="Errors" />
          <Item href={hrefKeeping(appPath(here.app, here.env, 'health'))} icon="health" text="Health" />
          <h2>Operation</h2>
        </>}
        {!here && <Item href="/" icon="apps" text="Applications" />}
        <Item href={hrefKeeping('/alerts', {...scope, src: null})} icon="alert" text="Alerts" badge={firing} />
        <Item href={hrefKeeping('/rules', {...scope, src: null})} icon="rule" text="Rules" />
        <Item href={hrefKeeping('/sources', {...scope, src: null})} icon="source" text="Sources" />
        <h2>Dashboard</h2>
        {here && <Item href="/" icon="apps" text="All applications" />}
        <Item href="/add" icon="plus" text="Add an application" />
        {may('admin') && <Item href="/settings/team" icon="settings" text="Settings" />}
      </nav>
      <footer>
        {who && <span class="who small"><strong>{who.name || who.email}</strong><br /><span class="muted tiny">{who.role}</span></span>}
        <button type="button" class="button quiet" onClick={() => void signOut()}><Icon name="out" />Sign out</button>
      </footer>
    </aside>
  );
}
