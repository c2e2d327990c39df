// Shows a rule to copy, and where it goes.
import {Code} from './basics';
import {Dialog} from './dialogs';

export function RuleDialog({open, onClose, text, name}: {open: boolean; onClose: () => void; text: string; name: string}) {
  return (
    <Dialog open={open} onClose={onClose} label="Alert on this call" className="wide">
      <div class="stack">
        <div class="row"><h1 class="grow">Alert on this call</h1><button class="button" type="button" onClick={onClose}>Close</button></div>
        <Code text={text} label="The rule" />
        <p class="muted small">Rules run in the agent. Save this as <code>{name}.lua</code> in its rules directory (<code>rules_dir</code>, <code>SI_RULES_DIR</code>, or <code>si run --rules DIR</code>): it is in force within seconds, and Rules shows it. Change <code>LIMIT</code> as you like.</p>
      </div>
    </Dialog>
  );
}
