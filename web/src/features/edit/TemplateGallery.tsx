import { Badge, Button, Card, Group, SimpleGrid, Stack, Text, TextInput, Title } from '@mantine/core';
import { IconFilePlus, IconSearch } from '@tabler/icons-react';
import { useState } from 'react';
import { Link, useNavigate } from 'react-router';
import { paths } from '@/app/paths';
import { type Template, useTemplates } from '@/api/templates';
import { About } from '@/ui/form/About';
import { Page } from '@/ui/Page';
import { Asked, Empty } from '@/ui/states';

const STARTER = `pipeline: new_pipeline
mode: batch
source:
  file: {path: in/*.csv}
transforms: []
sink:
  file: {path: "out/{stream}"}
`;

const CATEGORIES: Record<string, string> = { 'data-lake': 'Into a lake', cdc: 'Changes', streaming: 'Streams', etl: 'Copy and clean' };

/** Ready pipelines to begin with, by what they are for. */
export function TemplateGallery() {
  const templates = useTemplates();
  const navigate = useNavigate();
  const [search, setSearch] = useState('');
  const empty = () => void navigate(`${paths.newPipeline}?edit`, { state: { text: STARTER } });
  return (
    <Page
      title="New pipeline"
      actions={
        <Button variant="default" leftSection={<IconFilePlus size={16} aria-hidden />} onClick={empty}>
          Begin without a template
        </Button>
      }
    >
      <Asked query={templates}>
        {({ items }) => {
          const found = items.filter((template) => matches(template, search));
          return (
            <Stack gap="lg">
              <TextInput
                aria-label="Search templates"
                placeholder="Search templates"
                leftSection={<IconSearch size={15} aria-hidden />}
                maw={360}
                value={search}
                onChange={(event) => setSearch(event.currentTarget.value)}
              />
              {found.length === 0 && <Empty title="No template has these words">Begin without one, or search for something else.</Empty>}
              {[...new Set(found.map((template) => template.category))].map((category) => (
                <section key={category} aria-label={CATEGORIES[category] ?? category}>
                  <Title order={2} mb="xs">
                    {CATEGORIES[category] ?? category}
                  </Title>
                  <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="sm" verticalSpacing="sm">
                    {found
                      .filter((template) => template.category === category)
                      .map((template) => (
                        <TemplateCard key={template.id} template={template} />
                      ))}
                  </SimpleGrid>
                </section>
              ))}
            </Stack>
          );
        }}
      </Asked>
    </Page>
  );
}

const matches = (template: Template, search: string) =>
  search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => `${template.title} ${template.description} ${template.id}`.toLowerCase().includes(word));

function TemplateCard({ template }: { template: Template }) {
  return (
    <Card withBorder padding="sm">
      <Group justify="space-between" gap="xs" mb={4}>
        <Title order={3}>{template.title}</Title>
        {!template.available && <Badge variant="default" size="sm" tt="none">{`needs ${template.requires ?? 'another build'}`}</Badge>}
      </Group>
      <Text size="sm" c="dimmed" flex={1} mb="sm">
        <About text={template.description} />
      </Text>
      <Button
        size="compact-sm"
        variant="default"
        w="fit-content"
        component={Link}
        to={`${paths.newPipeline}?template=${encodeURIComponent(template.id)}`}
        aria-label={`Use ${template.title}`}
      >
        Use
      </Button>
    </Card>
  );
}
