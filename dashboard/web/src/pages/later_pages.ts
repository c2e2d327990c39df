// Pages that few people open first, in one file that is fetched when the first of them is: each piece costs a round trip.
export {AddApplication} from './add';
export {Alerts, Silences} from './alerts';
export {ImportPage} from './import';
export {Rules} from './rules';
export {SelfPage} from './self';
export {SettingsPage} from './settings';
export {SnapshotPage, Snapshots} from './snapshots';
export {Sources} from './sources';
