/** How much each model reads, as the server knows it. */
import { useEffect, useState } from "preact/hooks";
import { useApi } from "../parts/hooks";
import type { Api } from "../api/client";

const asked = new Map<string, Promise<ReadonlyMap<string, number>>>();

/** Returns the context window of a model, `provider/name`, in tokens; null where nobody knows. */
export function useWindow(model: string): number | null {
  const api = useApi();
  const [size, setSize] = useState<number | null>(null);
  useEffect(() => {
    let over = false;
    setSize(null);
    const provider = model.split("/")[0] ?? "";
    if (!provider || !model.includes("/")) return;
    const sizes = asked.get(provider) ?? windows(api, provider);
    asked.set(provider, sizes);
    void sizes.then((found) => {
      if (!over) setSize(found.get(model) ?? null);
    });
    return () => {
      over = true;
    };
  }, [api, model]);
  return size;
}

async function windows(api: Api, provider: string): Promise<ReadonlyMap<string, number>> {
  try {
    const { models = [] } = await api.ask("GET /v1/catalogue", { query: { provider } });
    return new Map(models.flatMap((each) => (each.context_window ? [[each.name, each.context_window] as const] : [])));
  } catch {
    return new Map();
  }
}
