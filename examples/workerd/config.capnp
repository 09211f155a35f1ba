using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "main")],
);

const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  modules = [
    (name = "worker", esModule = embed "out/worker.mjs"),
    (name = "hyperion-runtime/hyperion.wasm", wasm = embed "node_modules/hyperion-runtime/dist/hyperion.wasm"),
    (name = "hyperion-runtime/models/story.gguf", data = embed "node_modules/hyperion-runtime/models/story.gguf"),
  ],
);
