import { Alert, Button, Code, CopyButton, Group, Modal } from '@mantine/core';

/** A secret that the server does not keep. Closing the window is the end of it, so a click beside it does not close it. */
export function ShownOnce({ secret, onClose }: { secret: string | null; onClose: () => void }) {
  return (
    <Modal
      opened={secret !== null}
      onClose={onClose}
      title="The new token"
      closeOnClickOutside={false}
      closeOnEscape={false}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="lg"
    >
      <Alert color="weir" p="xs" mb="sm" title="It is shown this once">
        Keep it in a safe place: the server only keeps what is needed to recognise it.
      </Alert>
      <Code block data-testid="secret" style={{ wordBreak: 'break-all', whiteSpace: 'pre-wrap' }}>
        {secret}
      </Code>
      <Group mt="md" justify="flex-end">
        <CopyButton value={secret ?? ''}>
          {({ copied, copy }) => (
            <Button variant="default" onClick={copy}>
              {copied ? 'Copied' : 'Copy'}
            </Button>
          )}
        </CopyButton>
        <Button onClick={onClose}>I have it</Button>
      </Group>
    </Modal>
  );
}
