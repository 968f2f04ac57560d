/**
 * What the notebooks need of Jupyter: a kernel under a name of this project, and a Python that knows nbclient.
 *
 * @module
 */
import { installLine, TOOLS } from "../../lib/catalogue/tools.ts";

/** How a notebook names its kernel, in the words of nbformat. */
export const KERNELSPEC = { display_name: "Deno (C10K lab)", language: "typescript", name: "c10k-lab" };

/** The line with which a person installs what the notebooks need. */
export const INSTALL_JUPYTER = installLine(TOOLS.filter(({ command }) => command.startsWith("jupyter-")), "linux");

/** The arguments with which Deno becomes a kernel. */
export const kernelArgs = (connectionFile: string): string[] => ["jupyter", "--kernel", "--conn", connectionFile];

// Debian's packages are those of /usr/bin/python3, though another Python may come first on the PATH.
const PYTHONS = ["python3", "/usr/bin/python3", "python"];
// Jupyter itself knows best where its user has data: JUPYTER_DATA_DIR, or what is customary on the system.
const INSTALL = `
import os, sys, tempfile
from jupyter_client.kernelspec import KernelSpecManager
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "kernel.json"), "w", encoding="utf-8") as file:
        file.write(sys.argv[2])
    print(KernelSpecManager().install_kernel_spec(folder, sys.argv[1], user=True))`;

/** The first Python that can import nbclient; null if there is none. Needs `--allow-run`. */
export async function findPython(): Promise<string | null> {
  for (const python of PYTHONS) {
    try {
      const { success } = await new Deno.Command(python, {
        args: ["-c", "import nbclient"],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

/**
 * Installs the kernel for this user, over an older one of its name: in JUPYTER_DATA_DIR if that is set, else where Jupyter
 * keeps a user's data on this system. Needs `--allow-run` and `--allow-read`.
 *
 * @returns The folder of the kernel.
 * @throws {Error} If Jupyter cannot install it, with what it said.
 */
export async function installKernel(python: string): Promise<string> {
  const { name, ...names } = KERNELSPEC;
  const spec = JSON.stringify({ argv: [Deno.execPath(), ...kernelArgs("{connection_file}")], ...names });
  const { success, stdout, stderr } = await new Deno.Command(python, { args: ["-c", INSTALL, name, spec] }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (success) return text(stdout).split("\n").at(-1)!;
  throw new Error(`Cannot install the kernel ${name}: ${text(stderr)}`);
}
