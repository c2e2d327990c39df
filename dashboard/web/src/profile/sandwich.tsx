// One function between its callers (above) and its callees (below), merged over all its calls.
import {useMemo} from 'preact/hooks';
import {percent} from '../app/format';
import {type CallTree, functionsOf, sandwichOf} from './call_tree';
import type {Measure} from './measure';
import {matches} from './top_table';
import {TreeGrid} from './tree_grid';

const LISTED = 200;

interface Props {
  tree: CallTree;
  measure: Measure;
  query: string;
  focus: string;
  onFocus: (id: string) => void;
}

export function Sandwich({tree, measure, query, focus, onFocus}: Props) {
  const all = useMemo(() => functionsOf(tree).sort((a, b) => Number(a.other) - Number(b.other) || b.self - a.self), [tree]);
  const listed = all.filter((row) => matches(tree, row, query)).slice(0, LISTED);
  const wantedName = focus.split('\n')[0] ?? '';
  const chosen = all.find((row) => row.id === focus) ?? all.find((row) => tree.frames[row.frame]?.[0] === wantedName) ?? all[0];
  const halves = useMemo(() => chosen ? sandwichOf(tree, chosen.id) : null, [tree, chosen?.id]);
  const whole = tree.whole || 1;
  if (!chosen || !halves) return <p class="profile-foot">This profile has no calls.</p>;
  const name = tree.names[chosen.frame] ?? '?';
  return (
    <div class="sandwich">
      <div class="functions" role="group" aria-label="Functions by their own share" tabIndex={0}>
        {listed.map((row) => (
          <button type="button" key={row.id} aria-pressed={row.id === chosen.id} onClick={() => onFocus(row.id)}>
            <span class="mono cut grow" title={tree.frames[row.frame]?.[0]}>{tree.names[row.frame]}</span><span class="num">{percent(row.self / whole)}</span>
          </button>
        ))}
      </div>
      <div>
        {wantedName !== '' && tree.frames[chosen.frame]?.[0] !== wantedName && <p class="notice warn" role="status"><span class="mono">{wantedName}</span> is not in this profile. Shown instead: the heaviest function.</p>}
        <h3>Callers of <span class="mono">{name}</span></h3>
        <TreeGrid key={'up' + chosen.id} tree={halves.callers} measure={measure} query="" compact="callers" label={`Callers of ${name}`} />
        <h3>What <span class="mono">{name}</span> calls</h3>
        <TreeGrid key={'down' + chosen.id} tree={halves.callees} measure={measure} query="" compact="callees" label={`Callees of ${name}`} />
      </div>
    </div>
  );
}
