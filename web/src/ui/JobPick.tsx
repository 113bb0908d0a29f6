import { Select } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useState } from 'react';
import { useQuery } from '@tanstack/react-query';
import { jobQuery } from '@/api/jobs';
import { useJobSearch } from '@/api/jobSearch';

interface Props {
  label: string;
  description?: string;
  value: string | null;
  onChange: (job: string | null) => void;
  /** What no choice means. */
  placeholder?: string;
  /** Among other filters: the label is for screen readers only. */
  inline?: boolean;
}

/** Chooses one pipeline of however many, by searching at the server. */
export function JobPick({ label, description, value, onChange, placeholder = 'Choose a pipeline', inline = false }: Props) {
  const [search, setSearch] = useState('');
  const [settled] = useDebouncedValue(search, 200);
  const chosen = useQuery({ ...jobQuery(value ?? ''), enabled: value !== null });
  // What is chosen stands in the field; it is not searched for.
  const jobs = useJobSearch(settled === chosen.data?.name ? '' : settled);
  const data = (jobs.data?.items ?? []).map((job) => ({ value: job.id, label: job.name.slice(0, 200) }));
  if (chosen.data !== undefined && value !== null && !data.some((one) => one.value === value))
    data.unshift({ value, label: chosen.data.name.slice(0, 200) });
  return (
    <Select
      {...(inline ? { 'aria-label': label, w: { base: '100%', xs: 220 } } : { label, description, w: '100%', maw: 360 })}
      size="xs"
      searchable
      clearable
      placeholder={placeholder}
      data={data}
      // The server has searched.
      filter={({ options }) => options}
      value={value}
      onChange={onChange}
      onSearchChange={setSearch}
      nothingFoundMessage={jobs.isPending ? 'Searching…' : 'No pipeline has this in its name'}
    />
  );
}
