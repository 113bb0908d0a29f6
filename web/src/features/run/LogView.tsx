import { Button, Group, Select, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconDownload, IconSearch } from '@tabler/icons-react';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState } from 'react';
import type { Live } from '@/api/live';
import { filterLines, logText } from '@/lib/log';
import { clock, count } from '@/lib/format';
import { Empty } from '@/ui/states';
import classes from './LogView.module.css';

/** Gives the reader a file. */
function save(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

/** A log: searched, from a level on, and followed while it grows. */
export function LogView({ id, live, over }: { id: string; live: Live; over: boolean }) {
  const [text, setText] = useState('');
  const [words] = useDebouncedValue(text, 120);
  const [level, setLevel] = useState<string | null>(null);
  const [following, setFollowing] = useState(!over);
  const found = useMemo(() => filterLines(live.lines, words, level), [live.lines, words, level]);
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: found.length, getScrollElement: () => scroller.current, estimateSize: () => 22, overscan: 20, getItemKey: (index) => found[index]?.seq ?? index });
  useEffect(() => {
    if (following && found.length > 0) virtual.scrollToIndex(found.length - 1, { align: 'end' });
  }, [following, found.length, virtual]);
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <TextInput
          size="xs"
          style={{ flex: '1 1 220px' }}
          aria-label="Search the log"
          placeholder="Search"
          leftSection={<IconSearch size={14} aria-hidden />}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        <Select size="xs" w={140} aria-label="From which level" placeholder="All levels" clearable data={['info', 'warning', 'error']} value={level} onChange={setLevel} />
        <Switch size="xs" label="Follow" checked={following} onChange={(event) => setFollowing(event.currentTarget.checked)} />
        <Button size="compact-sm" variant="default" leftSection={<IconDownload size={14} aria-hidden />} disabled={found.length === 0} onClick={() => save(`run-${id}.log`, logText(found))}>
          Download
        </Button>
        <Text size="sm" c="dimmed" className="numbers" role="status">
          {found.length === live.lines.length ? count(found.length) : `${count(found.length)} of ${count(live.lines.length)}`} lines{live.cut ? ', older ones are gone' : ''}
        </Text>
      </Group>
      {found.length === 0 ? (
        <Empty title={live.lines.length === 0 ? (over ? 'It said nothing' : 'Nothing was said yet') : 'No line fits'} />
      ) : (
        <div ref={scroller} className={classes.log} role="log" aria-label="Log" aria-live="off" tabIndex={0} onWheel={(event) => event.deltaY < 0 && setFollowing(false)}>
          <div style={{ height: virtual.getTotalSize(), position: 'relative' }}>
            {virtual.getVirtualItems().map(({ index, key, start }) => {
              const line = found[index];
              if (line === undefined) return null;
              return (
                <div key={key} ref={virtual.measureElement} data-index={index} className={classes.line} data-level={line.level} style={{ transform: `translateY(${start}px)` }}>
                  <time dateTime={line.at}>{clock(line.at)}</time>
                  <span className={classes.level}>{line.level}</span>
                  <bdi>{line.message}</bdi>
                </div>
              );
            })}
          </div>
        </div>
      )}
    </Stack>
  );
}
