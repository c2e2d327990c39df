// useData(): one GET as a piece of a page's state. While a newer answer is on its way the older one stays, so that live refresh
// never flickers; an answer that was overtaken is dropped.
import {useEffect, useRef, useState} from 'preact/hooks';
import {type ApiError, get, type Query, queryString} from '../api/client';

export interface Data<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  reload: () => void;
}

interface State<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  identity: string;
}

/**
 * `path` null: nothing to ask yet. `identity` names what the answer is about: while it stays, an older answer is shown until the
 * newer is there (the range moves with the clock); when it changes, the older answer would be a lie and goes away.
 */
export function useData<T>(path: string | null, query: Query = {}, identity = path ?? ''): Data<T> {
  const key = path === null ? '' : path + queryString(query);
  const [state, setState] = useState<State<T>>({data: undefined, error: undefined, loading: path !== null, identity});
  const [turn, setTurn] = useState(0);
  const first = useRef(true);
  useEffect(() => {
    if (path === null) return undefined;
    const abort = new AbortController();
    if (!first.current) {
      setState((old) => ({data: old.identity === identity ? old.data : undefined, error: undefined, loading: true, identity}));
    }
    first.current = false;
    get(path, query, abort.signal).then(
      (answer) => {
        if (!abort.signal.aborted) setState({data: answer as T, error: undefined, loading: false, identity});
      },
      (cause: unknown) => {
        if (abort.signal.aborted) return;
        setState((old) => ({data: old.identity === identity ? old.data : undefined, error: cause as ApiError, loading: false, identity}));
      },
    );
    return () => abort.abort();
  }, [key, turn, identity]);
  const fresh = state.identity === identity;
  return {
    data: fresh ? state.data : undefined,
    error: fresh ? state.error : undefined,
    loading: state.loading || !fresh,
    reload: () => setTurn((n) => n + 1),
  };
}
