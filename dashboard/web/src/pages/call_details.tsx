// The call that is chosen in the tree or the flame graph: what it is in full, how its share went in the 24 hours before, and what
// one can do with it.
import {useState} from 'preact/hooks';
import type {Query} from '../api/client';
import type {Point, ProfileTree} from '../api/types';
import {percent} from '../app/format';
import {useData} from '../app/resource';
import {context, param, setParams} from '../app/router';
import {now} from '../app/time';
import {Chart} from '../charts/chart';
import {CopyButton, Popover} from '../components/basics';
import {RuleDialog} from '../components/rule_dialog';
import {alertRule, canAlert, ruleName} from '../profile/alert_rule';
import {type CallTree, frameOf, functionId, nameOf, pathOf} from '../profile/call_tree';
import type {Measure} from '../profile/measure';
import {isFunction, namesIn} from '../profile/transform';
import {SourceView} from '../profile/source_view';

/* What rules compare with: percent of the cores, or bytes. */
function ruleValue(answer: ProfileTree, tree: CallTree, name: string): number {
  let total = 0;
  for (let i = 1; i < tree.size; i++) {
    if (frameOf(tree, i)[0] !== name) continue;
    let outermost = true;
    for (let p = tree.parent[i]!; p > 0 && outermost; p = tree.parent[p]!) outermost = frameOf(tree, p)[0] !== name;
    if (outermost) total += tree.total[i]!;
  }
  if (answer.type === 'heap') return total;
  return answer.duration_ms > 0 ? total / (answer.duration_ms * 1e6 * Math.max(1, answer.cores)) * 100 : 0;
}

export function CallDetails({tree, full, node, answer, measure, query, view, onFlame, onTree, onSandwich}: {
  tree: CallTree; full: CallTree; node: number; answer: ProfileTree; measure: Measure; query: Query; view: string;
  onFlame: () => void; onTree: () => void; onSandwich: () => void;
}) {
  const here = context.value;
  const [alerting, setAlerting] = useState(false);
  const [source, setSource] = useState(false);
  const frame = frameOf(tree, node);
  const name = frame[0];
  const end = answer.end_ms || now.value;
  const from = end - 86_400_000;
  const trend = useData<{points: Point[]}>(here ? '/profiles/trend' : null, {...here, type: answer.type, from, to: end, function: name, module: frame[3]}, `trend ${answer.type} ${functionId(frame)}`);
  const points = trend.data?.points ?? [];
  const stack = pathOf(tree, node).slice(1).map((n) => frameOf(tree, n)[0]).join(';');
  const ignored = namesIn(param('ignore'));
  const collapsed = namesIn(param('collapse'));
  const focused = isFunction(param('focus'), frame);
  return <>
    <div class="profile-foot call-details">
      <div class="stack tight grow">
        <div class="row"><strong class="mono wrap">{name || nameOf(tree, node)}</strong></div>
        <div class="row small muted">
          {frame[1] && <span class="mono">{frame[1]}{frame[2] > 0 ? `:${frame[2]}` : ''}</span>}{frame[3] && <span class="mono">{frame[3]}</span>}
        </div>
        <div class="row">
          {view !== 'flame' && <button type="button" class="button" onClick={onFlame}>Show in the flame graph</button>}
          {view !== 'tree' && <button type="button" class="button" onClick={onTree}>Show in the call tree</button>}
          <button type="button" class="button" onClick={onSandwich}>Callers and callees</button>
          {frame[1] && here && !query['snapshot'] && <button type="button" class="button" aria-expanded={source} onClick={() => setSource(!source)}>Source</button>}
          <Popover left label="Change what is shown" text="Focus, ignore, collapse">
            {(close) => <>
              <button type="button" class="item" onClick={() => { setParams({focus: focused ? null : functionId(frame), zoom: null}); close(); }}>{focused ? 'End the focus' : 'Focus: only stacks through it'}</button>
              <button type="button" class="item" onClick={() => { setParams({ignore: [...new Set([...ignored, name])].join(';'), zoom: null}); close(); }}>Ignore: leave out stacks through it</button>
              <button type="button" class="item" onClick={() => { setParams({collapse: (collapsed.includes(name) ? collapsed.filter((n) => n !== name) : [...collapsed, name]).join(';'), zoom: null}); close(); }}>{collapsed.includes(name) ? 'Show what it calls again' : 'Collapse: what it calls becomes its own'}</button>
            </>}
          </Popover>
          {here && <button type="button" class="button" disabled={!canAlert(answer.type)} title={canAlert(answer.type) ? 'Writes a rule to copy' : 'Rules do not watch single calls of this type'} onClick={() => setAlerting(true)}>Alert on this call</button>}
          <CopyButton text={stack} label="Copy the stack" />
        </div>
        {points.length > 1 && <Chart label={`Share of ${name} in the 24 hours before`} height={90} from={from} to={end} format={percent} lines={[{label: 'share', color: 'chart-1', points, fill: true}]} />}
      </div>
      <RuleDialog open={alerting} onClose={() => setAlerting(false)} name={ruleName(answer.type, frame)} text={alerting ? alertRule(answer.type, frame, ruleValue(answer, full, name)) : ''} />
    </div>
    {source && frame[1] && <SourceView key={frame[1]} query={query} file={frame[1]} line={frame[2]} total={answer.total} measure={measure} onClose={() => setSource(false)} />}
  </>;
}
