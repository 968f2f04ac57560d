import { assert, assertEquals } from "@std/assert";
import { irqAccountingOf, irqTimeAccounting } from "./irq.ts";

Deno.test("interrupts have an account where the kernel was built with it and can read its clock", () => {
  const on = "CONFIG_HZ=250\nCONFIG_IRQ_TIME_ACCOUNTING=y\nCONFIG_HAVE_IRQ_TIME_ACCOUNTING=y\n";
  const off = "# CONFIG_IRQ_TIME_ACCOUNTING is not set\nCONFIG_HAVE_IRQ_TIME_ACCOUNTING=y\n";
  assertEquals([irqAccountingOf(on, "quiet"), irqAccountingOf(on, "quiet tsc=noirqtime")], [true, false]);
  assertEquals(irqAccountingOf(off, "quiet"), false);
});

Deno.test("this kernel is asked, and says yes, no or nothing", () => {
  assert([true, false, null].includes(irqTimeAccounting()));
});
