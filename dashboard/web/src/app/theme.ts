// Light or dark: what the system prefers, unless a person chose. The choice is this browser's, not the address's.
import {computed, effect, signal} from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'si-theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

function stored(): Theme {
  try {
    const value = window.localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = signal<Theme>(stored());
const systemDark = signal(system.matches);
export const dark = computed(() => theme.value === 'dark' || (theme.value === 'auto' && systemDark.value));

/** A colour token's value, for canvases. Read it while drawing: it changes with the theme. */
export function token(name: string): string {
  return window.getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
}

export function cycleTheme(): void {
  theme.value = theme.value === 'auto' ? (dark.value ? 'light' : 'dark') : 'auto';
  try {
    window.localStorage.setItem(KEY, theme.value);
  } catch {
    // private windows may refuse; the choice then lasts until the page is closed
  }
}

export function startTheme(): void {
  system.addEventListener('change', (event) => { systemDark.value = event.matches; });
  effect(() => { document.documentElement.dataset['theme'] = dark.value ? 'dark' : 'light'; });
}
