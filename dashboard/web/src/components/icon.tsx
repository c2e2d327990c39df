// Line icons, 16 px, drawn for this page. Decorative: the words beside them carry the meaning.
const PATHS = {
  apps: 'M2.5 2.5h4.5v4.5H2.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5H2.5zM9 9h4.5v4.5H9z',
  overview: 'M2 13.5h12M3.5 11V7.5M6.5 11V3.5M9.5 11V6M12.5 11V2.5',
  flame: 'M2 3.5h12M2 7h8M2 10.5h5M12 7h2M9 10.5h1.5M2 14h2.5',
  segment: 'M2 4h6M5 8h7M9 12h5M2 12h3',
  error: 'M8 2l6.2 11.5H1.8zM8 6.5v3.2M8 11.6v.2',
  health: 'M1.5 8.5h3l1.7-5 3.3 9 1.8-4h3.2',
  alert: 'M8 2a4 4 0 0 1 4 4v3l1.5 2.5h-11L4 9V6a4 4 0 0 1 4-4zM6.5 13.5h3',
  rule: 'M3 3h10M3 8h6M3 13h4M12 7v6M9.5 10.5l2.5 2.5 2.5-2.5',
  source: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.2M5 11h.2',
  settings: 'M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M10.5 3v3M5.5 10v3',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.5 10.5l3.5 3.5',
  chevron: 'M6 3.5l4.5 4.5L6 12.5',
  left: 'M10 3.5L5.5 8l4.5 4.5',
  down: 'M3.5 6L8 10.5 12.5 6',
  menu: 'M2 4h12M2 8h12M2 12h12',
  sun: 'M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  moon: 'M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z',
  auto: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zM8 2v12M10.5 3v10M12.5 5v6',
  pause: 'M5.5 3v10M10.5 3v10',
  play: 'M4.5 2.5l8 5.5-8 5.5z',
  clock: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zM8 4.5V8l2.5 1.5',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  plus: 'M8 3v10M3 8h10',
  download: 'M8 2v8.5M4.5 7L8 10.5 11.5 7M2.5 13.5h11',
  upload: 'M8 10.5V2M4.5 5.5L8 2l3.5 3.5M2.5 13.5h11',
  flag: 'M4 14V2.5M4 3h8l-2 3 2 3H4',
  gauge: 'M2.5 12a6 6 0 1 1 11 0M8 10l3-3.5',
  link: 'M6.5 9.5l3-3M7 4.5l1.2-1.2a3 3 0 0 1 4.3 4.3L11.3 8.8M9 11.5l-1.2 1.2a3 3 0 0 1-4.3-4.3L4.7 7.2',
  table: 'M2.5 3h11v10h-11zM2.5 6.5h11M2.5 10h11M7 3v10',
  close: 'M4 4l8 8M12 4l-8 8',
  help: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zM6.3 6.4a1.7 1.7 0 1 1 2.5 1.5c-.6.3-.8.6-.8 1.2M8 11.2v.2',
  out: 'M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({name}: {name: IconName}) {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#12616b" />
      <path d="M6 11h20M6 16.5h13M6 22h6" stroke="#fff" stroke-width="3.4" stroke-linecap="round" />
      <path d="M22.5 16.5h3.5" stroke="#ffb454" stroke-width="3.4" stroke-linecap="round" />
    </svg>
  );
}
