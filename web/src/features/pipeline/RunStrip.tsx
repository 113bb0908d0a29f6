import { useNavigate } from 'react-router';
import type { Run } from '@/api/runs';
import { paths } from '@/app/paths';
import { count, duration, moment } from '@/lib/format';
import { seconds } from '@/lib/runs';
import { Section } from '@/ui/Section';
import classes from './RunStrip.module.css';

const SHOWN = 40;

/** The newest runs beside each other, the oldest first: how they ended and how long they took. The list of runs has the same by keyboard. */
export function RunStrip({ runs }: { runs: Run[] }) {
  const navigate = useNavigate();
  const shown = runs.filter((run) => run.started_at).slice(0, SHOWN).reverse();
  if (shown.length < 2) return null;
  const longest = Math.max(...shown.map((run) => seconds(run)), 0.001);
  const failed = shown.filter((run) => run.status === 'failed').length;
  return (
    <Section title="Newest runs">
      <div className={classes.strip} role="img" aria-label={`The newest ${count(shown.length)} runs, ${count(failed)} of them failed; the longest took ${duration(longest)}`}>
        {shown.map((run) => (
          <div
            key={run.id}
            className={classes.run}
            title={`${run.status}, ${duration(seconds(run))}, ${moment(run.started_at ?? run.queued_at)}`}
            onClick={() => void navigate(paths.run(run.id))}
          >
            <div className={classes.bar} data-status={run.status} style={{ height: `${Math.max(8, (seconds(run) / longest) * 100)}%` }} />
          </div>
        ))}
      </div>
    </Section>
  );
}
