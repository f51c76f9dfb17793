/** The console: whoever is recognised sees the sessions, and everybody else how to get in. */
import type { JSX } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { Api, Problem, said } from "../api/client";
import type { AuthConfig } from "../api/schema";
import { ApiContext } from "../parts/hooks";
import { Mark } from "../parts/small";
import { Login } from "./login";
import { Shell } from "./shell";

type Door = { readonly state: "asking" } | { readonly state: "in" } | { readonly state: "out"; readonly config: AuthConfig } | { readonly state: "closed"; readonly why: string };

const OPEN: AuthConfig = { open: true, login: false, setup_required: false };

export function App(): JSX.Element {
  const [api] = useState(() => new Api());
  const [door, setDoor] = useState<Door>({ state: "asking" });

  const knock = useCallback(async (): Promise<void> => {
    try {
      api.me = await api.ask("GET /v1/auth/me");
      setDoor({ state: "in" });
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) {
        setDoor({ state: "closed", why: said(error) });
        return;
      }
      api.useKey("", false);
      const config = await api.ask("GET /v1/auth/config").catch(() => OPEN);
      setDoor({ state: "out", config });
    }
  }, [api]);

  const leave = useCallback(async (): Promise<void> => {
    if (api.me?.how === "user") await api.ask("POST /v1/auth/logout").catch(() => undefined);
    api.useKey("", false);
    api.me = null;
    await knock();
  }, [api, knock]);

  useEffect(() => {
    api.onStranger = () => {
      api.me = null;
      void knock();
    };
    void knock();
  }, [api, knock]);

  return (
    <ApiContext.Provider value={api}>
      <div id="said" class="unseen" role="status" aria-live="polite" />
      {door.state === "in" && <Shell leave={() => void leave()} />}
      {door.state === "out" && <Login config={door.config} entered={() => setDoor({ state: "in" })} />}
      {door.state === "closed" && (
        <main class="door">
          <Mark />
          <h1>Holdfast</h1>
          <p class="trouble" role="alert">{door.why}</p>
          <button type="button" onClick={() => void knock()}>Try again</button>
        </main>
      )}
      {door.state === "asking" && <main class="door" aria-busy="true"><Mark /></main>}
    </ApiContext.Provider>
  );
}
