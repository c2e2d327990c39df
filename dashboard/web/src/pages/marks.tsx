// Deploys and other marks as the charts draw them.
import type {Annotation} from '../api/types';
import type {Mark} from '../charts/chart';

export function deployMarks(annotations: Annotation[] | undefined): Mark[] {
  return (annotations ?? []).map((a) => ({t: a.time_ms, text: a.text || a.kind}));
}
