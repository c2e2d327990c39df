// Pages that few people open first come in files of their own, asked for when they are: the first load stays small.
import {type ComponentType} from 'preact';
import {useEffect, useState} from 'preact/hooks';

export function later(load: () => Promise<ComponentType>): ComponentType {
  let loaded: ComponentType | null = null;
  return function Later() {
    const [Page, setPage] = useState<ComponentType | null>(() => loaded);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (Page) return;
      load().then((page) => {
        loaded = page;
        setPage(() => page);
      }, () => setFailed(true));
    }, []);
    if (Page) return <Page />;
    if (failed) {
      return (
        <main class="main" id="main" tabIndex={-1}><div class="notice bad row" role="alert">
          <span class="grow">This page could not be fetched. The dashboard may have been updated or may be away.</span>
          <button type="button" class="button" onClick={() => window.location.reload()}>Load again</button>
        </div></main>
      );
    }
    return <main class="main" id="main" tabIndex={-1}><div class="skeleton" role="status" aria-label="Loading" /></main>;
  };
}
