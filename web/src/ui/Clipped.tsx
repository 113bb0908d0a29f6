/** A name of any length on one line; the whole of it is in its title. Its own direction, so that it cannot turn what stands around it. */
export function Clipped({ text }: { text: string }) {
  return (
    <bdi style={{ display: 'block', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }} title={text.slice(0, 500)}>
      {text.slice(0, 500)}
    </bdi>
  );
}
