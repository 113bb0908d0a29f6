import { useMutation, useQuery } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';

export type Template = Schemas['Template'];
export type Parameter = Schemas['Parameter'];

export const useTemplates = () =>
  useQuery({ queryKey: ['templates'], queryFn: () => answer(client.GET('/api/v1/templates')), staleTime: Infinity });

export const useTemplate = (id: string) =>
  useQuery({
    queryKey: ['templates', id],
    queryFn: () => answer(client.GET('/api/v1/templates/{template_id}', { params: { path: { template_id: id } } })),
    staleTime: Infinity,
  });

/** A template's text with its parameters filled in; no job is made of it yet. */
export const useInstantiate = (id: string) =>
  useMutation({
    mutationFn: (parameters: Record<string, unknown>) =>
      answer(
        client.POST('/api/v1/templates/{template_id}/instantiate', {
          params: { path: { template_id: id } },
          body: { parameters: parameters as Record<string, never>, create_job: false },
        }),
      ),
  });
