// The search field of a page: "/" jumps into it, Escape leaves it, what it holds is in the address (?q=).
import {useEffect, useRef, useState} from 'preact/hooks';
import {focusSearch, useKeys} from '../app/keys';
import {param, setParams} from '../app/router';
import {Icon} from './icon';

const SETTLE_MS = 180;

/** `hint` stands in the field where the label is too long for it. */
export function SearchField({label, hint = label}: {label: string; hint?: string}) {
  const inAddress = param('q');
  const [text, setText] = useState(inAddress);
  const timer = useRef(0);
  useKeys({'/': focusSearch});
  useEffect(() => setText(inAddress), [inAddress]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const change = (value: string): void => {
    setText(value);
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setParams({q: value}, true), SETTLE_MS);
  };
  return (
    <div class="search">
      <Icon name="search" />
      <input class="input" type="search" data-search aria-label={label} placeholder={hint} value={text} onInput={(event) => change(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Escape') return;
          change('');
          event.currentTarget.blur();
        }} />
    </div>
  );
}
