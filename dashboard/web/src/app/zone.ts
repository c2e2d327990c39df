// In which time zone times are written: this browser's, or UTC. The choice is this browser's, not the address's: links carry Unix
// times, so that everybody reads them in their own.
import {computed, signal} from '@preact/signals';

const KEY = 'si-zone';

function stored(): boolean {
  try {
    return window.localStorage.getItem(KEY) === 'utc';
  } catch {
    return false; // private windows may refuse
  }
}

export const utcChosen = signal(stored());

/** For Intl: undefined is the browser's own zone. */
export const zone = computed(() => utcChosen.value ? 'UTC' : undefined);

export const zoneName = computed(() => zone.value ?? Intl.DateTimeFormat().resolvedOptions().timeZone);

export function chooseUtc(utc: boolean): void {
  utcChosen.value = utc;
  try {
    window.localStorage.setItem(KEY, utc ? 'utc' : 'local');
  } catch {
    // the choice then lasts until the page is closed
  }
}

/** What an <input type="datetime-local"> holds for a moment, in the chosen zone. */
export function toInput(ms: number): string {
  const shift = utcChosen.value ? 0 : new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms - shift).toISOString().slice(0, 16);
}

export function fromInput(text: string): number {
  return new Date(utcChosen.value ? text + ':00Z' : text).getTime();
}
