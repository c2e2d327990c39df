// What the settings pages share: their tabs, and one change at a time with its failure in words.
import type {ComponentChildren} from 'preact';
import {useState} from 'preact/hooks';
import {path} from '../app/router';
import {may, user} from '../app/session';
import {Empty, Panel} from '../components/basics';
import {Page} from '../components/topbar';

const TABS: [href: string, text: string, admin: boolean][] = [
  ['/settings/team', 'Team', true], ['/settings/keys', 'Agent keys', true], ['/settings/channels', 'Channels', false], ['/settings/retention', 'Retention', false],
  ['/settings/sessions', 'Account and sessions', false], ['/settings/audit', 'Audit', true],
];

export function Settings({title, admin = false, children}: {title: string; admin?: boolean; children: () => ComponentChildren}) {
  const refused = admin && !may('admin');
  return (
    <Page title={title} timed={false}>
      <nav class="row" aria-label="Settings"><div class="segmented">
        {TABS.filter((tab) => !tab[2] || may('admin')).map(([href, text]) => <a key={href} href={href} {...(path.value === href ? {'aria-current': 'true' as const} : {})}>{text}</a>)}
      </div></nav>
      {refused ? <Panel><Empty title="Only administrators change settings"><p>You are signed in as {user.value?.role}. Ask an administrator for an agent key, an invitation or another role.</p></Empty></Panel> : children()}
    </Page>
  );
}

export function useAction(): {error: Error | null; busy: boolean; act: (what: () => Promise<void>) => void} {
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async (what: () => Promise<void>): Promise<void> => {
    setBusy(true);
    try {
      await what();
      setError(null);
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      setBusy(false);
    }
  };
  return {error, busy, act: (what) => void run(what)};
}

/** A button that asks once more before it does what cannot be undone. */
export function Sure({text, sure, busy = false, onSure}: {text: string; sure: string; busy?: boolean; onSure: () => void}) {
  const [asked, setAsked] = useState(false);
  return asked
    ? <button type="button" class="button danger" disabled={busy} onClick={() => { setAsked(false); onSure(); }} onBlur={() => setAsked(false)}>{sure}</button>
    : <button type="button" class="button" disabled={busy} onClick={() => setAsked(true)}>{text}</button>;
}
