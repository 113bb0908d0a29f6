import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { LATER } from './queries';

export type Rehearsal = Schemas['Rehearsal'];
export type Silence = Schemas['SilenceHeld'];

/** A rule as it is written. */
export interface Rule {
  metric: string;
  threshold: number;
  window: string;
  severity: Schemas['Severity'];
  action: Schemas['Action'];
}

/** When a rule would have fired. Asked for again when the rule changes; the old answer stays meanwhile. */
export const useRehearsal = (job: string, rule: Rule | null, hours: number) =>
  useQuery({
    queryKey: ['alerts', 'rehearsal', job, rule, hours],
    queryFn: () =>
      answer(
        client.POST('/api/v1/jobs/{job_id}/alerts/preview', {
          params: { path: { job_id: job }, query: { time_range_hours: hours } },
          body: rule!,
        }),
      ),
    enabled: rule !== null,
    placeholderData: keepPreviousData,
    retry: false,
  });

/** A list replaces all rules of a job, a single rule is added to them. */
export function useSetRules(job: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (rules: Rule[] | Rule) =>
      answer(client.POST('/api/v1/jobs/{job_id}/alerts', { params: { path: { job_id: job } }, body: rules })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['alerts'] }),
  });
}

export const useSilences = () =>
  useQuery({ queryKey: ['silences'], queryFn: () => answer(client.GET('/api/v1/silences')), refetchInterval: LATER });

export function useSilenceActions() {
  const queries = useQueryClient();
  const onSuccess = () => void queries.invalidateQueries({ queryKey: ['silences'] });
  return {
    create: useMutation({ mutationFn: (body: Schemas['Silence']) => answer(client.POST('/api/v1/silences', { body })), onSuccess }),
    end: useMutation({
      mutationFn: (id: string) => answer(client.DELETE('/api/v1/silences/{silence_id}', { params: { path: { silence_id: id } } })),
      onSuccess,
    }),
  };
}
