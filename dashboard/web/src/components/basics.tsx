// Small pieces that every page uses.
import type {ComponentChildren} from 'preact';
import {useEffect, useRef, useState} from 'preact/hooks';
import {ago, time, utc} from '../app/format';
import {now} from '../app/time';
import type {Data} from '../app/resource';
import {Icon, type IconName} from './icon';

export function Panel({title, actions, children, footer, flush = false, id}: {
  title?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; footer?: ComponentChildren; flush?: boolean; id?: string;
}) {
  return (
    <section class="panel" {...(id ? {id} : {})}>
      {(title !== undefined || actions !== undefined) && <header><h2 class="cut">{title}</h2>{actions}</header>}
      {flush ? children : <div class="body">{children}</div>}
      {footer !== undefined && <footer>{footer}</footer>}
    </section>
  );
}

export function Time({ms, relative = false}: {ms: number | null | undefined; relative?: boolean}) {
  if (!ms) return <span class="muted">–</span>;
  return <time dateTime={new Date(ms).toISOString()} title={utc(ms)} class="nowrap">{relative ? ago(ms, Math.max(now.value, Date.now())) : time(ms)}</time>;
}

export function Pill({tone = '', children}: {tone?: 'good' | 'warn' | 'bad' | 'info' | 'plain' | ''; children: ComponentChildren}) {
  return <span class={'pill ' + tone}>{children}</span>;
}

export function severityTone(severity: string): 'bad' | 'warn' | 'info' {
  return severity === 'critical' ? 'bad' : severity === 'warning' ? 'warn' : 'info';
}

/** An empty page names its likely causes; an honest "nothing here" beats a blank chart. */
export function Empty({title, causes, children}: {title: string; causes?: ComponentChildren[]; children?: ComponentChildren}) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {causes && causes.length > 0 && <><p>Likely causes:</p><ul>{causes.map((cause, i) => <li key={i}>{cause}</li>)}</ul></>}
      {children}
    </div>
  );
}

/** Shows an answer, or that it is on its way, or why it is not there. An older answer stays visible under a newer failure. */
export function Loaded<T>({of, children}: {of: Data<T>; children: (data: T) => ComponentChildren}) {
  if (of.data === undefined) {
    if (of.error) return <Failure error={of.error} retry={of.reload} />;
    return <div class="skeleton" role="status" aria-label="Loading" />;
  }
  return <>{of.error && <Failure error={of.error} retry={of.reload} />}{children(of.data)}</>;
}

export function Failure({error, retry}: {error: Error; retry?: () => void}) {
  return (
    <div class="notice bad row" role="alert">
      <span class="grow">{error.message}</span>
      {retry && <button class="button" type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

/** A button that opens a list under it; Escape and clicks elsewhere close it. */
export function Popover({label, icon, text, children, left = false, quiet = false}: {
  label: string; icon?: IconName; text?: ComponentChildren; children: (close: () => void) => ComponentChildren; left?: boolean; quiet?: boolean;
}) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const close = (): void => setOpen(false);
  useEffect(() => {
    if (!open) return undefined;
    root.current?.querySelector<HTMLElement>('.popover button, .popover a, .popover input, .popover select')?.focus();
    const onPress = (event: MouseEvent): void => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) close();
    };
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      close();
      root.current?.querySelector('button')?.focus();
    };
    document.addEventListener('mousedown', onPress);
    document.addEventListener('keydown', onKey);
    return () => {
      document.removeEventListener('mousedown', onPress);
      document.removeEventListener('keydown', onKey);
    };
  }, [open]);
  return (
    <div class="pop" ref={root}>
      <button type="button" class={'button' + (quiet ? ' quiet' : '') + (text === undefined ? ' icon' : '')} aria-expanded={open} {...(text === undefined ? {'aria-label': label} : {})} title={label} onClick={() => setOpen(!open)}>
        {icon && <Icon name={icon} />}{text !== undefined && text !== label && <span class="sr">{label}: </span>}{text}{text !== undefined && <Icon name="down" />}
      </button>
      {open && <div class={'popover' + (left ? ' left' : '')}>{children(close)}</div>}
    </div>
  );
}

export function CopyButton({text, label = 'Copy'}: {text: string; label?: string}) {
  const [done, setDone] = useState('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setDone('Copied');
    } catch {
      setDone('Press Ctrl-C'); // no permission, or not a secure context: the text can still be selected
    }
    window.setTimeout(() => setDone(''), 2000);
  };
  return <button type="button" class="button" onClick={() => void copy()}><Icon name="copy" /><span aria-live="polite">{done || label}</span></button>;
}

export function Code({text, label}: {text: string; label: string}) {
  return <div class="code"><pre tabIndex={0} role="region" aria-label={label}><code>{text}</code></pre><CopyButton text={text} /></div>;
}

/** Only web addresses become links: a runbook may come from anybody's agent. */
export function SafeLink({href, children}: {href: string; children: ComponentChildren}) {
  if (!/^https?:\/\//i.test(href)) return <>{children}</>;
  return <a href={href} target="_blank" rel="noopener noreferrer">{children}</a>;
}

export function Field({label, hint, error, children}: {label: string; hint?: string; error?: string; children: ComponentChildren}) {
  return <label class="field"><span>{label}</span>{children}{hint && <small>{hint}</small>}{error && <em role="alert">{error}</em>}</label>;
}
