import { Anchor, Button } from '@mantine/core';
import { IconArrowsSplit2 } from '@tabler/icons-react';
import { Link } from 'react-router';
import { useMay } from '@/api/me';
import { paths } from '@/app/paths';
import { Empty } from '@/ui/states';

/** What a person sees before anything has run. */
export function FirstSteps() {
  const may = useMay('operator');
  return (
    <Empty title="Nothing has run yet" icon={<IconArrowsSplit2 size={28} stroke={1.4} aria-hidden />}>
      {may ? (
        <>
          Start one of your <Anchor component={Link} to={paths.pipelines} size="sm" underline="always">pipelines</Anchor>. How it goes, how fresh the data are and what fails is here
          then.
          <br />
          <Button component={Link} to={paths.pipelines} mt="md" size="compact-md">
            To the pipelines
          </Button>
        </>
      ) : (
        'What runs, how fresh the data are and what fails is here as soon as somebody has started a pipeline.'
      )}
    </Empty>
  );
}
