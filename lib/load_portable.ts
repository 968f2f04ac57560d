export class PortableEngine {
  constructor(..._a: unknown[]) {}
}
