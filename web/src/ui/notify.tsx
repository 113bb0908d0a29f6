import { notifications } from '@mantine/notifications';
import { Refusal } from '@/api/refusal';

/** A cross alone says nothing to who listens. */
const closeButtonProps = { 'aria-label': 'Close the message' };

/** Something was done. */
export const done = (message: string) => notifications.show({ message, color: 'weir', autoClose: 4_000, closeButtonProps });

/** Something that was asked for was not done. It stays until it is read. */
export function failed(what: string, error: unknown) {
  const hint = error instanceof Refusal ? error.problem.hint : null;
  const text = error instanceof Error ? error.message : String(error);
  notifications.show({ title: what, message: hint ? `${text}. ${hint}` : text, color: 'red', autoClose: false, closeButtonProps });
}
