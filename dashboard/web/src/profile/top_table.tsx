// One row a function, over the whole profile: self and total, sortable.
import {useMemo, useState} from 'preact/hooks';
import {count, percent} from '../app/format';
import {type CallTree, type FunctionRow, functionsOf, isNoise} from './call_tree';
import type {Measure} from './measure';
import {place} from './names';
import {Delta, Marked, Share} from './tree_grid';

type SortKey = 'self' | 'total' | 'samples' | 'change' | 'name';
const PAGE = 200;

interface Props {
  tree: CallTree;
  measure: Measure;
  query: string;
  onPick: (id: string) => void;
}

export function matches(tree: CallTree, row: FunctionRow, query: string): boolean {
  const frame = tree.frames[row.frame];
  return !query || (frame !== undefined && `${frame[0]}\n${frame[1]}\n${frame[3]}`.toLowerCase().includes(query.toLowerCase()));
}

export function TopTable({tree, measure, query, onPick}: Props) {
  const [sort, setSort] = useState<SortKey>(tree.hasBase ? 'change' : 'self');
  const [shown, setShown] = useState(PAGE);
  const all = useMemo(() => functionsOf(tree), [tree]);
  const whole = tree.whole || 1;
  const rows = useMemo(() => {
    const value = (row: FunctionRow): number => sort === 'self' ? row.self : sort === 'total' ? row.total : sort === 'samples' ? row.samples
      : isNoise(tree, row.total, row.base * measure.baseScale) ? 0 : Math.abs(row.total - row.base * measure.baseScale);
    const name = (row: FunctionRow): string => tree.names[row.frame] ?? '';
    return all.filter((row) => matches(tree, row, query))
      .sort((a, b) => Number(a.other) - Number(b.other) || (sort === 'name' ? name(a).localeCompare(name(b)) : value(b) - value(a)) || b.total - a.total);
  }, [all, sort, query, measure]);
  const head = (key: SortKey, text: string, title: string, className = 'num') => (
    <th scope="col" class={className} title={title} {...(sort === key ? {'aria-sort': key === 'name' ? 'ascending' : 'descending'} : {})}>
      <button type="button" onClick={() => setSort(key)}>{text}{sort === key ? ' ↓' : ''}</button>
    </th>
  );
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Functions">
      <table class="data">
        <thead><tr>
          {head('name', 'Function', 'By name', '')}
          {head('self', 'Self', 'In the function itself')}
          {head('total', 'Total', 'In the function and what it calls', '')}
          <th scope="col" class="num wide-only" title={measure.rateHelp}>{measure.rateTitle}</th>
          {head('samples', measure.counted[0]!.toUpperCase() + measure.counted.slice(1), `Number of ${measure.counted} in it and what it calls`, 'num wide-only')}
          {tree.hasBase && head('change', 'Change', 'Against the base')}
        </tr></thead>
        <tbody>
          {rows.slice(0, shown).map((row) => {
            const frame = tree.frames[row.frame]!;
            return (
              <tr key={row.id}>
                <td class="name"><button type="button" class="function-cell mono cut" title={frame[0]} onClick={() => onPick(row.id)}><Marked text={tree.names[row.frame] ?? '?'} query={query} /></button> <span class="muted tiny">{place(frame)}</span></td>
                <td class="num">{percent(row.self / whole)}</td>
                <td class="share-cell"><Share total={row.total / whole} self={row.self / whole} /></td>
                <td class="num wide-only">{measure.rate(row.total)}</td>
                <td class="num wide-only">{count(row.samples)}</td>
                {tree.hasBase && <td class="num"><Delta tree={tree} before={row.base * measure.baseScale} after={row.total} /></td>}
              </tr>
            );
          })}
        </tbody>
      </table>
      {rows.length > shown && <p class="profile-foot"><button class="button" type="button" onClick={() => setShown(shown + PAGE * 5)}>Show more of {count(rows.length)} functions</button></p>}
      {rows.length === 0 && <p class="profile-foot">No function matches “{query}”.</p>}
    </div>
  );
}
