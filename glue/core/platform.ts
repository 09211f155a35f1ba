// Types of the web's interfaces, where the program that uses this package has them: a page's, a
// worker's, Node's or another host's; elsewhere as much of them as the package itself uses. The
// declarations that ship take these names from here (tools/types.mjs), so that they ask for no
// library that a program does not use.

type Global<Name extends string, Else> =
  typeof globalThis extends Record<Name, { prototype: infer T }> ? T : Else;

export type AbortSignal = Global<
  'AbortSignal',
  {
    readonly aborted: boolean;
    readonly reason: any;
    addEventListener(type: 'abort', listener: () => void): void;
    removeEventListener(type: 'abort', listener: () => void): void;
  }
>;
export type AbortController = Global<
  'AbortController',
  { readonly signal: AbortSignal; abort(reason?: any): void }
>;
export type URL = Global<'URL', { readonly href: string; readonly protocol: string }>;
export type Blob = Global<
  'Blob',
  {
    readonly size: number;
    slice(start?: number, end?: number): Blob;
    arrayBuffer(): Promise<ArrayBuffer>;
  }
>;
export type File = Global<'File', Blob & { readonly name: string }>;
export type CryptoKey = Global<'CryptoKey', { readonly type: string }>;
export type ReadableStream<T = any> = Global<
  'ReadableStream',
  { getReader(): { read(): Promise<{ done: boolean; value?: T }> } }
>;
export type Response = Global<
  'Response',
  { readonly ok: boolean; readonly status: number; arrayBuffer(): Promise<ArrayBuffer> }
>;
export type Request = Global<
  'Request',
  { readonly url: string; readonly method: string; readonly signal: AbortSignal }
>;
export type Worker = Global<'Worker', { postMessage(message: any): void; terminate(): void }>;
export type BufferSource = ArrayBufferView | ArrayBuffer;

type WebAssemblyClass<Name extends string, Else> =
  typeof globalThis extends Record<'WebAssembly', Record<Name, { prototype: infer T }>> ? T : Else;

export namespace WebAssembly {
  export type Module = WebAssemblyClass<'Module', object>;
  export type Memory = WebAssemblyClass<'Memory', { readonly buffer: ArrayBuffer }>;
  export type Instance = WebAssemblyClass<'Instance', { readonly exports: any }>;
}

declare const unnamed: unique symbol;

/** The type of `Symbol.asyncDispose`, where the program's library knows of it. */
export type AsyncDispose = typeof Symbol extends { readonly asyncDispose: infer Key extends symbol }
  ? Key
  : typeof unnamed;

/** What `await using` asks of a value, where the program's library knows of it. */
export type Disposable = typeof Symbol extends { readonly asyncDispose: infer Key extends symbol }
  ? { [K in Key]: () => Promise<void> }
  : {};
