import { useNavigate } from 'react-router';
import { type DeadLetterChoice, letterActions, useLetterAction } from '@/api/deadLetters';
import { paths } from '@/app/paths';
import { count } from '@/lib/format';
import { done, failed } from '@/ui/notify';
import { askToDiscard, askToReplay } from './ask';

/** What is done with letters: each is asked about first. A replay is a run, and one goes there. */
export function useLetterActs(job: string, onDone: () => void) {
  const navigate = useNavigate();
  const replaying = useLetterAction(letterActions.replay);
  const discarding = useLetterAction(letterActions.discard);
  return {
    busy: replaying.isPending || discarding.isPending,
    replay: (letters: DeadLetterChoice, what: string) =>
      askToReplay(what, () =>
        replaying.mutate([job, letters], {
          onSuccess: (run) => {
            onDone();
            void navigate(paths.run(run.id));
          },
          onError: (error) => failed('They were not replayed', error),
        }),
      ),
    discard: (letters: DeadLetterChoice, what: string) =>
      askToDiscard(what, (reason) =>
        discarding.mutate([job, letters, reason], {
          onSuccess: ({ discarded }) => {
            onDone();
            done(`${count(discarded)} given up`);
          },
          onError: (error) => failed('They were not given up', error),
        }),
      ),
  };
}
