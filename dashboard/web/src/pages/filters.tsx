// What is left out of the profile that is shown, each with a way back, and how much that is: nothing is hidden in silence.
import {percent, plural} from '../app/format';
import {param, setParams} from '../app/router';
import {Icon} from '../components/icon';
import {Popover} from '../components/basics';
import type {CallTree} from '../profile/call_tree';
import {collapse} from '../profile/names';
import {type Cut, namesIn, type Wanted} from '../profile/transform';

export function wantedFromAddress(): Wanted {
  const fold = namesIn(param('fold'));
  return {focus: param('focus'), ignore: namesIn(param('ignore')), collapse: namesIn(param('collapse')), libraries: fold.includes('libraries'), recursion: fold.includes('recursion')};
}

function Chip({text, title, onRemove}: {text: string; title: string; onRemove: () => void}) {
  return <button type="button" class="chip" title={title} aria-label={`Remove: ${text}`} onClick={onRemove}><span class="cut">{text}</span><Icon name="close" /></button>;
}

function without(list: string[], name: string): string {
  return list.filter((one) => one !== name).join(';');
}

export function Filters({wanted, cut, tree, version}: {wanted: Wanted; cut: Cut | null; tree: CallTree; version: string}) {
  if (!cut && !version) return null;
  const whole = tree.whole || 1;
  const focusName = wanted.focus.split('\n')[0] ?? '';
  const fold = [...wanted.libraries ? ['libraries'] : [], ...wanted.recursion ? ['recursion'] : []];
  return (
    <div class="profile-facts filters" role="status">
      {version && <Chip text={`version ${version}`} title="Show all versions" onRemove={() => setParams({version: null})} />}
      {focusName && <Chip text={`focus: ${collapse(focusName)}`} title="End the focus" onRemove={() => setParams({focus: null, zoom: null})} />}
      {wanted.ignore.map((name) => <Chip key={name} text={`ignored: ${collapse(name)}`} title="Show it again" onRemove={() => setParams({ignore: without(wanted.ignore, name)})} />)}
      {wanted.collapse.map((name) => <Chip key={name} text={`collapsed: ${collapse(name)}`} title="Show what it calls again" onRemove={() => setParams({collapse: without(wanted.collapse, name)})} />)}
      {fold.map((what) => <Chip key={what} text={`${what} folded`} title="Unfold" onRemove={() => setParams({fold: without(fold, what)})} />)}
      {cut && <span>shown: <b>{percent(cut.tree.total[0]! / whole)}</b></span>}
      {cut?.focused && <span>hidden by the focus: {percent(cut.focused.value / whole)} in {plural(cut.focused.nodes, 'call')}</span>}
      {cut?.ignored && <span>ignored: {percent(cut.ignored.value / whole)} in {plural(cut.ignored.nodes, 'call')}</span>}
      {cut && cut.joined > 0 && <span>{plural(cut.joined, 'call')} joined, nothing lost</span>}
      <button type="button" class="button quiet" onClick={() => setParams({focus: null, ignore: null, collapse: null, fold: null, version: null, zoom: null})}>Show everything</button>
    </div>
  );
}

export function FoldMenu({wanted, folded}: {wanted: Wanted; folded: boolean}) {
  const fold = [...wanted.libraries ? ['libraries'] : [], ...wanted.recursion ? ['recursion'] : []];
  const toggle = (what: string): void => setParams({fold: (fold.includes(what) ? fold.filter((f) => f !== what) : [...fold, what]).join(';'), zoom: null}, true);
  return (
    <Popover label="Fold" text="Fold">
      {() => <>
        <label class="check pad"><input type="checkbox" checked={folded} onChange={() => setParams({names: folded ? 'full' : null}, true)} />Short names: std::vector&lt;…&gt;</label>
        <label class="check pad"><input type="checkbox" checked={wanted.libraries} onChange={() => toggle('libraries')} />Calls inside one library</label>
        <label class="check pad"><input type="checkbox" checked={wanted.recursion} onChange={() => toggle('recursion')} />Recursion</label>
      </>}
    </Popover>
  );
}
