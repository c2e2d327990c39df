// The side bar: which application, and its pages. Types of profiles appear when an agent has sent one.
import {computed, effect, signal} from '@preact/signals';
import {useEffect} from 'preact/hooks';
import {get} from '../api/client';
import type {App} from '../api/types';
import {appPath, context, hrefKeeping, path} from '../app/router';
import {may, session, signOut, user} from '../app/session';
import {now} from '../app/time';
import {HOT_SPOTS, isBottleneck, typeTitle} from '../profile/measure';
import {Popover} from './basics';
import {Icon, type IconName, Logo} from './icon';

export const apps = signal<App[] | null>(null);
export const appsError = signal('');
/** What the server tells of the application that the page is about. */
export const currentApp = computed<App | null>(() => {
  const at = context.value;
  return at && apps.value?.find((a) => a.app === at.app && a.env === at.env) || null;
});
/** Types of profiles that the application has sent within a day. */
export const types = computed<string[]>(() => currentApp.value?.types ?? []);
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
  effect(() => {
    if (path.value) menuOpen.value = false; // whenever the page changes
  });
}

interface Destination {
  text: string;
  hint: string;
  href: string;
}

export const BOTTLENECKS: {kind: string; title: string}[] = [
  {kind: 'http_handler', title: 'HTTP handlers'}, {kind: 'http_client', title: 'HTTP clients'}, {kind: 'database', title: 'Databases'},
];

const APP_PAGES: [string, string][] = [['overview', 'Overview'], ...HOT_SPOTS.map((type): [string, string] => ['profiles/' + type, typeTitle(type) + ' hot spots']),
  ...BOTTLENECKS.map(({kind, title}): [string, string] => ['bottlenecks/' + kind, title]), ['segments', 'Segments'], ['errors', 'Errors'], ['health', 'Health']];

export const destinations = computed<Destination[]>(() => {
  const out: Destination[] = [];
  const here = context.value;
  const list = [...(apps.value ?? [])].sort((a, b) => Number(b.app === here?.app && b.env === here.env) - Number(a.app === here?.app && a.env === here?.env));
  for (const {app, env} of list) {
    const hint = `${app} · ${env}`;
    for (const [page, title] of APP_PAGES) out.push({text: `${app} ${env} ${title}`, hint, href: appPath(app, env, page)});
  }
  const pages: [string, string][] = [['/', 'Applications'], ['/alerts', 'Alerts'], ['/silences', 'Silences'], ['/rules', 'Rules'], ['/sources', 'Sources'], ['/snapshots', 'Snapshots'], ['/add', 'Add an application'], ['/import', 'Open a pprof file'], ['/self', 'This dashboard'],
    ['/settings/team', 'Settings: team'], ['/settings/keys', 'Settings: agent keys'], ['/settings/channels', 'Settings: channels'],
    ['/settings/retention', 'Settings: retention'], ['/settings/sessions', 'Settings: sessions'], ['/settings/audit', 'Settings: audit']];
  for (const [href, text] of pages) out.push({text, hint: '', href});
  return out;
});

function Item({href, icon, text, badge, dim = false}: {href: string; icon?: IconName; text: string; badge?: number; dim?: boolean}) {
  const target = new URL(href, window.location.href).pathname;
  const current = path.value === target || (target.startsWith('/settings/') && path.value.startsWith('/settings/')) || (target !== '/' && path.value.startsWith(target + '/'));
  return (
    <a href={href} {...(current ? {'aria-current': 'page' as const} : {})}>
      {icon ? <Icon name={icon} /> : <i class={'bullet' + (dim ? ' none' : '')} />}<span class="cut">{text}</span>{dim && <span class="sr">, nothing sent today</span>}{badge ? <span class="pill plain bad">{badge}</span> : null}
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
          <h2>Hot spots</h2>
          {[...HOT_SPOTS, ...types.value.filter((t) => !HOT_SPOTS.includes(t) && !isBottleneck(t))].map((type) => (
            <Item key={type} dim={types.value.length > 0 && !types.value.includes(type)} href={hrefKeeping(appPath(here.app, here.env, 'profiles/' + encodeURIComponent(type)))} text={typeTitle(type)} />
          ))}
          <h2>Bottlenecks</h2>
          {BOTTLENECKS.map(({kind, title}) => <Item key={kind} href={hrefKeeping(appPath(here.app, here.env, 'bottlenecks/' + kind))} text={title} />)}
          <Item href={hrefKeeping(appPath(here.app, here.env, 'segments'))} text="Segments" />
          <h2>Events and health</h2>
          <Item href={hrefKeeping(appPath(here.app, here.env, 'errors'))} icon="error" text="Errors" />
          <Item href={hrefKeeping(appPath(here.app, here.env, 'health'))} icon="health" text="Health" />
        </>}
        {!here && <Item href="/" icon="apps" text="Applications" />}
        <Item href={hrefKeeping('/alerts', {...scope, src: null})} icon="alert" text="Alerts" badge={firing} />
        {here && <h2>Operation</h2>}
        <Item href={hrefKeeping('/rules', {...scope, src: null})} icon="rule" text="Rules" />
        <Item href={hrefKeeping('/sources', {...scope, src: null})} icon="source" text="Sources" />
        <Item href={hrefKeeping('/snapshots', {...scope, src: null})} icon="link" text="Snapshots" />
        <h2>Dashboard</h2>
        {here && <Item href="/" icon="apps" text="All applications" />}
        <Item href="/add" icon="plus" text="Add an application" />
        {!here && <Item href="/import" icon="upload" text="Open a pprof file" />}
        <Item href="/self" icon="gauge" text="This dashboard" />
        <Item href={may('admin') ? '/settings/team' : '/settings/sessions'} icon="settings" text="Settings" />
      </nav>
      <footer>
        {who && <span class="who small"><strong>{who.name || who.email}</strong><br /><span class="muted tiny">{who.role}</span></span>}
        <button type="button" class="button quiet icon" title="Sign out" onClick={() => void signOut()}><Icon name="out" /><span class="sr">Sign out</span></button>
      </footer>
    </aside>
  );
}
