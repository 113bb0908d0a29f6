import { Text } from '@mantine/core';
import { About } from './About';

/** What an option means, in two lines; all of it is in its title. Nothing where nothing is said. */
export function Hint({ text }: { text: string }) {
  if (text === '') return null;
  return (
    <Text span inherit lineClamp={2} title={text.replaceAll('`', '')}>
      <About text={text} />
    </Text>
  );
}
