// The page starts here: session first, then the page that the address names.
import './style/tokens.css';
import './style/base.css';
import './style/layout.css';
import './style/controls.css';
import './style/blocks.css';
import './style/profile.css';
import 'uplot/dist/uPlot.min.css';
import {type ComponentType, render} from 'preact';
import {useEffect, useErrorBoundary} from 'preact/hooks';
import {startKeys} from './app/keys';
import {later} from './app/later';
import {navigate, path, segments, startRouter} from './app/router';
import {loadSession, session, signInHref, unreachable} from './app/session';
import {startTheme} from './app/theme';
import {startClock} from './app/time';
import {Failure} from './components/basics';
import {GoTo, Help, startDialogs} from './components/dialogs';
import {menuOpen, Sidebar, startNav} from './components/nav';
import {Applications} from './pages/applications';
import {Bottlenecks} from './pages/bottlenecks';
import {Errors} from './pages/errors';
import {Invite, SetUp, SignIn, Unreachable} from './pages/gate';
import {Health} from './pages/health';
import type * as LaterPages from './pages/later_pages';
import {NotFound} from './pages/not_found';
import {Overview} from './pages/overview';
import {Profiles} from './pages/profiles';
import {Segments} from './pages/segments';

const rest = (name: keyof typeof LaterPages): ComponentType => later(() => import('./pages/later_pages').then((m) => m[name]));
const AddApplication = rest('AddApplication');
const Alerts = rest('Alerts');
const Silences = rest('Silences');
const Rules = rest('Rules');
const Sources = rest('Sources');
const SettingsPage = rest('SettingsPage');
const Snapshots = rest('Snapshots');
const SnapshotPage = rest('SnapshotPage');
const ImportPage = rest('ImportPage');
const SelfPage = rest('SelfPage');

const APP_PAGES: Record<string, ComponentType> = {
  overview: Overview, profiles: Profiles, segments: Segments, bottlenecks: Bottlenecks, errors: Errors, health: Health,
};
const PAGES: Record<string, ComponentType> = {
  '': Applications, add: AddApplication, alerts: Alerts, silences: Silences, rules: Rules, sources: Sources, settings: SettingsPage,
  snapshots: Snapshots, s: SnapshotPage, import: ImportPage, self: SelfPage,
};

function pick(): ComponentType {
  const parts = segments.value;
  if (parts[0] === 'a' && parts.length >= 3) return APP_PAGES[parts[3] ?? 'overview'] ?? NotFound;
  return PAGES[parts[0] ?? ''] ?? NotFound;
}

function Go({to}: {to: string}) {
  useEffect(() => navigate(to, true), [to]);
  return null;
}

/* A page that fails says so and leaves the rest standing. */
function Guarded({page: Current}: {page: ComponentType}) {
  const [error, reset] = useErrorBoundary() as [unknown, () => void];
  if (error) return <main class="main" id="main" tabIndex={-1}><Failure error={new Error(`This page failed: ${error instanceof Error ? error.message : 'unknown error'}`)} retry={reset} /></main>;
  return <Current />;
}

function App() {
  const now = session.value;
  const at = path.value;
  if (now === null) return unreachable.value ? <Unreachable /> : <p class="boot" role="status">Loading…</p>;
  if (now.setup_needed) return <SetUp />;
  if (at === '/invite') return <Invite />;
  if (at === '/sign-in') return now.user && !window.location.search.includes('token=') ? <Go to="/" /> : <SignIn />;
  if (!now.user) return <Go to={signInHref()} />;
  if (at === '/setup') return <Go to="/" />;
  return (
    <div class="shell">
      <a class="skip" href="#main">Skip to the page</a>
      <Sidebar />
      <button type="button" class={'scrim' + (menuOpen.value ? ' open' : '')} aria-label="Close the menu" tabIndex={-1} onClick={() => { menuOpen.value = false; }} />
      <div class="grow"><Guarded key={at.split('/').slice(0, 5).join('/')} page={pick()} /></div>
      <GoTo />
      <Help />
    </div>
  );
}

window.siEarly ??= {now: Date.now(), answers: new Map()}; // a late early.ts asks for nothing twice
startTheme();
startRouter();
startKeys();
startClock();
startNav();
startDialogs();
render(<App />, document.getElementById('app')!);
document.querySelector('.boot')?.remove();
void loadSession();
