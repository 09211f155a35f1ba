using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "models", disk = "node_modules/hyperion-runtime/models"),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "main")],
);

const main :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  compatibilityFlags = ["enable_request_signal"],
  bindings = [(name = "MODELS", service = "models")],
  modules = [
    (name = "worker", esModule = embed "out/worker.mjs"),
    (name = "hyperion-runtime/hyperion-relaxed.wasm", wasm = embed "node_modules/hyperion-runtime/dist/hyperion-relaxed.wasm"),
  ],
);
