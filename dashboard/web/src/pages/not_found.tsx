import {Empty, Panel} from '../components/basics';
import {Page} from '../components/topbar';

export function NotFound() {
  return <Page title="No such page" timed={false}><Panel><Empty title="There is no page at this address" causes={['The link is incomplete.', 'It was made by another version of this dashboard.']}><a class="button" href="/">All applications</a></Empty></Panel></Page>;
}
