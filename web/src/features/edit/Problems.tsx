import { Code, List, Text } from '@mantine/core';
import type { ProblemPart } from '@/api/refusal';
import { Status } from '@/ui/Status';

/** What the checker or the planner found, each with its place and what to do. */
export function Problems({ problems, none }: { problems: ProblemPart[]; none: string }) {
  if (problems.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {none}
      </Text>
    );
  return (
    <List listStyleType="none" spacing="xs" size="sm">
      {problems.map((problem, index) => (
        <List.Item key={index}>
          <Status
            state={problem.severity === 'warning' ? 'warning' : 'failed'}
            label={problem.severity === 'warning' ? 'warning' : 'error'}
          />{' '}
          {problem.line != null && (
            <Text span size="xs" c="dimmed" className="numbers">{`line ${problem.line}, column ${problem.column ?? 1} `}</Text>
          )}
          {problem.path && <Code>{problem.path}</Code>} {problem.message}
          {problem.help && (
            <Text size="xs" c="dimmed">
              {problem.help}
            </Text>
          )}
        </List.Item>
      ))}
    </List>
  );
}
