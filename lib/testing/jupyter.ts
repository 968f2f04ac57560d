/** Stands in for a kernel: takes what a cell would show. */

/** Something shown: its kind of message, and its content by MIME type. */
export interface Shown {
  type: string;
  data: Record<string, string>;
  id: string | undefined;
}

/** Runs what a cell would, and returns all that it shows, in order. */
export async function showing(cell: () => Promise<unknown>): Promise<Shown[]> {
  const shown: Shown[] = [];
  const broadcast = (
    type: string,
    { data, transient }: { data: Record<string, string>; transient: { display_id?: string } },
  ) => {
    shown.push({ type, data, id: transient.display_id });
    return Promise.resolve();
  };
  (Deno as { jupyter: unknown }).jupyter = { broadcast }; // Deno has it in a kernel only; every call sets it again
  await cell();
  return shown;
}
