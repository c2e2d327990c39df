// The shapes of docs/api.md. Times are Unix milliseconds.

export type Role = 'admin' | 'editor' | 'viewer';
export type Point = [number, number];

export interface Session {
  setup_needed: boolean;
  user: {id: number; name: string; email: string; role: Role} | null;
  csrf: string;
  version: string;
}

export interface App {
  app: string;
  env: string;
  sources: number;
  last_seen_ms: number | null;
  firing: number;
  types?: string[];
  cpu?: {last: number | null; points: Point[]} | null;
}

export interface Source {
  id: number;
  host: string;
  pid: number;
  app_version: string;
  runtime_version: string;
  build_id: string;
  run_id: string;
  agent_version: string;
  os: string;
  first_seen_ms: number;
  last_seen_ms: number;
  up: boolean;
  statuses: {name: string; state: string; reason: string}[];
  losses: {name: string; made: number; stored: number; pending: number; dropped: number; reason: string}[];
  rules_hash: string;
  clock_ahead_ms?: number;
  tags?: string[];
  ended?: boolean;
}

export interface Annotation {
  id?: number;
  author?: string;
  time_ms: number;
  kind: string;
  text: string;
}

export interface Overview {
  types: {type: string; unit: string; last: number | null; avg: number | null; points: Point[]}[];
  segments: {name: string; kind: string; p95_ms: number; count: number}[];
  errors: {count: number; points: Point[]};
  movers: {type: string; function: string; module: string; before: number; after: number}[];
  alerts: Alert[];
  annotations: Annotation[];
  health: {name: string; unit: string; last: number | null; points: Point[]}[];
}

export interface ProfilePoint {
  id: number;
  t: number;
  duration_ms: number;
  value: number;
  total: number;
  samples: number;
  source: number;
  app_version: string;
  trigger: string;
}

export interface ProfileHistory {
  type: string;
  unit: string;
  points: ProfilePoint[];
  truncated: boolean;
}

export type Frame = [fn: string, file: string, line: number, module: string];
/** parent (-1 for the root), frame, self, samples, self in the base profile (diff only) */
export type TreeNode = [parent: number, frame: number, self: number, samples: number, base?: number];

/** How long the calls of a node and of all below it took, in ns; from so many samples, which stand for so many calls. */
export type Percentiles = [p50: number, p95: number, p99: number, samples: number, calls: number];

export interface ProfileTree {
  type: string;
  unit: string;
  profiles: number;
  samples: number;
  total: number;
  duration_ms: number;
  cores: number;
  start_ms: number;
  end_ms: number;
  context?: Record<string, unknown>;
  frames: Frame[];
  nodes: TreeNode[];
  percentiles?: (Percentiles | null)[]; // of each node; bottlenecks alone
  hidden?: {nodes: number; value: number; base_value?: number; base_share?: number};
  before?: {profiles: number; total: number; duration_ms: number};
  trend?: Record<string, Point[]>;
  comparison?: {mode: 'absolute' | 'normalized'; factor: number; by: string; text: string};
}

export interface Segment {
  name: string;
  kind: string;
  count: number;
  errors: number;
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
  max_ms: number;
  points: [t: number, p50: number, p95: number, p99: number, count: number][];
}

export interface ErrorGroup {
  group: string;
  message: string;
  count: number;
  points: Point[];
  first_ms: number;
  last_ms: number;
}

export interface HealthMetric {
  name: string;
  unit: string;
  source: number;
  points: [t: number, avg: number, min: number, max: number][];
}

export interface Delivery {
  destination: string;
  state: string;
  error: string;
  attempts: number;
  time_ms: number;
}

export interface Alert {
  id: number;
  fingerprint: string;
  rule: string;
  subject: string;
  severity: string;
  summary: string;
  runbook: string;
  detail: string;
  app: string;
  env: string;
  host: string;
  state: string;
  value: number | null;
  started_ms: number;
  fired_ms: number;
  resolved_ms: number;
  acked_by?: string | null;
  acked_ms?: number | null;
  ack_comment?: string | null;
  silenced: boolean;
  deliveries?: Delivery[];
}

export interface Silence {
  id: number;
  match: Partial<Record<'rule' | 'app' | 'env' | 'host' | 'severity', string>>;
  until_ms: number;
  comment: string;
  created_by?: string;
  active?: boolean;
}

export interface RuleState {
  source: number;
  host: string;
  name: string;
  file: string;
  state: string;
  error: string;
  evaluations: number;
  cost_ns: number;
}

export interface DashboardRule {
  name: string;
  file: string;
  line: number;
  severity: string;
  state: string;
  error: string;
  alerts: number;
  evaluations: number;
  cost_ns: number;
}

export interface DashboardRules {
  hash: string;
  error: string;
  rules: DashboardRule[];
  series: number;
}

export interface User {
  id: number;
  name: string;
  email: string;
  role: Role;
  disabled?: boolean;
  last_seen_ms?: number;
  pending?: boolean;
}

export interface AgentKey {
  id: number | string;
  app: string;
  environment: string;
  label: string;
  purpose?: 'report' | 'read';
  created_ms?: number;
  last_used_ms?: number | null;
  revoked?: boolean;
  revoked_ms?: number | null;
  key?: string;
}

export interface AuditEntry {
  id?: number;
  time_ms: number;
  user: string;
  action: string;
  target: string;
  address: string;
}

export interface Call {
  name: string;
  kind: string;
  count: number;
  errors: number;
  rate: number; // per second
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
  max_ms: number;
  total_ms: number;
  tree: boolean;
  points: [t: number, p50: number, p95: number, p99: number, count: number, errors: number][];
}

export interface Bottlenecks {
  kind: string;
  calls: Call[];
  hidden?: {calls: number; total_ms: number; share: number};
}

export interface Version {
  version: string;
  first_seen_ms: number;
  last_seen_ms: number;
  sources: number;
}

export interface Snapshot {
  id: string;
  title: string;
  path: string;
  app: string;
  env: string;
  type: string;
  created_ms: number;
  author: string;
  bytes: number;
  has_base?: boolean;
  profile?: ProfileTree;
}

export interface SourceText {
  file: string;
  path: string;
  origin: string;
  version: string;
  lines: string[];
  values: [line: number, self: number, total: number, samples: number][];
  self: number;
  unit: string;
}

export interface Channel {
  name: string;
  kind: string;
  target: string;
  to?: string[];
  state: string;
  sent: number;
  failed: number;
  last_sent_ms: number | null;
  last_error: string;
  last_error_ms: number | null;
  test: {state: string; error: string; time_ms: number} | null;
}

export interface Retention {
  retention_ms: number;
  max_bytes: number;
  default_retention_ms: number;
  used_bytes: number;
  oldest_ms: number | null;
  by: string;
}

export interface UserSession {
  id: number | string;
  user: string;
  email: string;
  created_ms: number;
  used_ms: number;
  address: string;
  current: boolean;
}

export interface Collector {
  name: string;
  sources: Partial<Record<'on' | 'off' | 'unavailable' | 'degraded', number>>;
  reasons: {state: string; reason: string; sources: number[]}[];
}

export interface DeliveryEntry {
  id: number;
  alert: number;
  rule: string;
  subject: string;
  app: string;
  env: string;
  about: string;
  destination: string;
  state: string;
  error: string;
  attempts: number;
  time_ms: number;
}

export interface Self {
  version: string;
  uptime_s: number;
  ingest: {stored: number; duplicates: number; refused: number; profiles: number; bytes: number; reports_per_second: number};
  writer: {queued: number; commits: number; writes: number; failures: number; last_commit_ms: number};
  store: {used_bytes: number; free_bytes: number; retention_ms: number};
  connections: number;
  requests: number;
  tables: {name: string; rows: number; bytes: number | null}[];
  slow_requests: {path: string; ms: number; time_ms: number}[];
}

export interface SelfHistory {
  step_ms: number;
  fields: string[];
  points: number[][];
}

export interface Imported {
  status: string;
  app: string;
  env: string;
  start_ms: number;
  moved?: boolean;
  profiles: {type: string; unit: string; total: number; samples: number; nodes: number}[];
  stacks?: number;
  cut_stacks?: number;
}
