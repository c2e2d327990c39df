// The bar above every page: title, source, time range, live refresh, theme.
import type {ComponentChildren} from 'preact';
import {useState} from 'preact/hooks';
import type {Source} from '../api/types';
import {helpOpen, gotoOpen, useKeys} from '../app/keys';
import {useData} from '../app/resource';
import {context, param, setParams} from '../app/router';
import {cycleTheme, dark, theme} from '../app/theme';
import {chooseAbsolute, chooseRelative, live, now, paused, range, rangeLabel, RANGES, refreshNow} from '../app/time';
import {ago} from '../app/format';
import {chooseUtc, fromInput, toInput, utcChosen, zoneName} from '../app/zone';
import {Popover} from './basics';
import {Icon} from './icon';
import {menuOpen} from './nav';

function AbsoluteRange({close}: {close: () => void}) {
  const r = range.value;
  const [from, setFrom] = useState(toInput(r.from));
  const [to, setTo] = useState(toInput(r.to));
  const start = fromInput(from);
  const end = fromInput(to);
  const wrong = !(start < end);
  return (
    <form class="stack tight pad" onSubmit={(event) => {
      event.preventDefault();
      if (wrong) return;
      chooseAbsolute(start, end);
      close();
    }}>
      <label class="field"><span>From</span><input class="input" type="datetime-local" value={from} onInput={(event) => setFrom(event.currentTarget.value)} /></label>
      <label class="field"><span>To</span><input class="input" type="datetime-local" value={to} onInput={(event) => setTo(event.currentTarget.value)} /></label>
      {wrong && <p class="bad small" role="alert">The start must be before the end.</p>}
      <label class="check"><input type="checkbox" checked={utcChosen.value} onChange={() => {
        chooseUtc(!utcChosen.value);
        setFrom(toInput(start || r.from));
        setTo(toInput(end || r.to));
      }} />Times in UTC <span class="muted tiny">now {zoneName.value}</span></label>
      <button class="button primary" type="submit" disabled={wrong}>Apply</button>
    </form>
  );
}

export function TimePicker() {
  return (
    <Popover label="Time range" icon="clock" text={rangeLabel()}>
      {(close) => <>
        {RANGES.map((r) => <button type="button" class="item" key={r.id} aria-pressed={range.value.relative === r.id} onClick={() => { chooseRelative(r.id); close(); }}>Last {r.label}</button>)}
        <hr />
        <AbsoluteRange close={close} />
      </>}
    </Popover>
  );
}

export function sourceName(source: Source): string {
  return `${source.host}${source.pid ? ` · ${source.pid}` : ''}`;
}

export function SourcePicker() {
  const here = context.value;
  const sources = useData<{sources: Source[]}>(here ? '/sources' : null, {...here}, `sources ${here?.app ?? ''} ${here?.env ?? ''}`);
  const chosen = param('src');
  const list = [...(sources.data?.sources ?? [])].sort((a, b) => Number(b.up) - Number(a.up) || b.last_seen_ms - a.last_seen_ms);
  const current = list.find((s) => String(s.id) === chosen);
  return (
    <Popover label="Source" icon="source" text={<span class="cut">{chosen ? (current ? sourceName(current) : `source ${chosen}`) : 'All sources'}</span>}>
      {(close) => <>
        <button type="button" class="item" aria-pressed={!chosen} onClick={() => { setParams({src: null, at: null}); close(); }}>All sources</button>
        {list.map((s) => (
          <button type="button" class="item" key={s.id} aria-pressed={String(s.id) === chosen} onClick={() => { setParams({src: s.id, at: null}); close(); }}>
            <span class="grow cut">{sourceName(s)} <span class="muted tiny">{s.app_version}</span></span><span class="muted tiny nowrap">{s.up ? 'up' : ago(s.last_seen_ms, now.value)}</span>
          </button>
        ))}
      </>}
    </Popover>
  );
}

export function LiveButton() {
  if (!range.value.relative) return <button type="button" class="button" onClick={() => chooseRelative('1h')} title="Follow the clock again">Back to now</button>;
  return (
    <button type="button" class="button quiet live" aria-pressed={live.value} title={live.value ? 'Refreshes every 10 s. Click to pause' : 'Paused. Click to refresh every 10 s'}
      onClick={() => { paused.value = !paused.value; if (!paused.value) refreshNow(); }}>
      <i class={'live-dot' + (live.value ? '' : ' off')} />{live.value ? 'Live' : 'Paused'}
    </button>
  );
}

export function TopBar({title, controls}: {title: ComponentChildren; controls?: ComponentChildren}) {
  useKeys({r: refreshNow, t: cycleTheme});
  const next = theme.value === 'auto' ? (dark.value ? 'light' : 'dark') : 'as the system';
  return (
    <header class="topbar">
      <button type="button" class="button quiet icon menu-button" aria-label="Menu" aria-controls="sidebar" aria-expanded={menuOpen.value} onClick={() => { menuOpen.value = !menuOpen.value; }}><Icon name="menu" /></button>
      <h1 class="cut">{title}</h1>
      {controls !== undefined && <div class="row controls">{controls}</div>}
      <button type="button" class="button quiet wide-only" onClick={() => { gotoOpen.value = true; }}><Icon name="search" />Go to <kbd>Ctrl K</kbd></button>
      <button type="button" class="button quiet icon" aria-label={`Colours: now ${theme.value === 'auto' ? 'as the system' : theme.value}; change to ${next}`} title={`Change to ${next}`} onClick={cycleTheme}><Icon name={theme.value === 'auto' ? 'auto' : dark.value ? 'moon' : 'sun'} /></button>
      <button type="button" class="button quiet icon wide-only" aria-label="Keys" title="Keys (?)" onClick={() => { helpOpen.value = true; }}><Icon name="help" /></button>
    </header>
  );
}

/** What every page wraps itself in. */
export function Page({title, controls, timed = true, sourced = false, children}: {
  title: string; controls?: ComponentChildren; timed?: boolean; sourced?: boolean; children: ComponentChildren;
}) {
  const here = context.value;
  document.title = `${title}${here ? ` · ${here.app} ${here.env}` : ''} · si`;
  return <>
    <TopBar title={title} controls={<>{controls}{sourced && <SourcePicker />}{timed && <><TimePicker /><LiveButton /></>}</>} />
    <main class="main" id="main" tabIndex={-1}>{children}</main>
  </>;
}
