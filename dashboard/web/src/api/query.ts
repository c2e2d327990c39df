// Queries as every request writes them: in the order given, without what is empty. The first requests are recognized by it.
export type Query = Record<string, string | number | boolean | null | undefined>;

export function queryString(query: Query): string {
  const out = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '' && value !== false) out.set(name, value === true ? '1' : String(value));
  }
  const text = out.toString();
  return text ? '?' + text : '';
}
