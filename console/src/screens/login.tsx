/** The way in: a name and a password, a key, or for the first user the set-up token. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Problem, said } from "../api/client";
import type { AuthConfig } from "../api/schema";
import { useApi } from "../parts/hooks";
import { Mark, Trouble } from "../parts/small";

type Way = "user" | "key" | "setup";

export function Login({ config, entered }: { readonly config: AuthConfig; readonly entered: () => void }): JSX.Element {
  const api = useApi();
  const ways: readonly Way[] = [...(config.setup_required ? (["setup"] as const) : []), ...(config.login ? (["user"] as const) : []), "key"];
  const [way, setWay] = useState<Way>(ways[0] ?? "key");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);

  const enter = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const given = (name: string): string => String(form.get(name) ?? "").trim();
    const password = String(form.get("password") ?? "");
    setBusy(true);
    setTrouble("");
    try {
      if (way === "key") {
        api.useKey(given("key"), form.has("keep"));
        api.me = await api.ask("GET /v1/auth/me");
      } else if (way === "user") {
        const tenant = given("tenant");
        api.me = await api.ask("POST /v1/auth/login", { body: { name: given("name"), password, ...(tenant ? { tenant } : {}) } });
      } else {
        api.me = await api.ask("POST /v1/auth/setup", { body: { token: given("token"), name: given("name"), password } });
      }
      entered();
    } catch (error) {
      if (way === "key") api.useKey("", false);
      setTrouble(way === "key" && error instanceof Problem && error.status === 401 ? "This key is not known here." : said(error));
      setBusy(false);
    }
  };

  return (
    <main class="door">
      <Mark />
      <h1>Holdfast</h1>
      {ways.length > 1 && (
        <div class="ways" role="group" aria-label="How to log in">
          {ways.map((each) => (
            <button key={each} type="button" aria-pressed={each === way} onClick={() => (setWay(each), setTrouble(""))}>
              {LABELS[each]}
            </button>
          ))}
        </div>
      )}
      <form onSubmit={(event) => void enter(event as unknown as SubmitEvent)} key={way}>
        {way === "key" && <Field name="key" label="Key" type="password" complete="off" focus />}
        {way === "setup" && <Field name="token" label="Set-up token" type="password" complete="off" focus hint="It is shown where the server was started." />}
        {way !== "key" && <Field name="name" label="Name" type="text" complete="username" focus={way === "user"} />}
        {way !== "key" && (
          <Field name="password" label="Password" type="password" complete={way === "user" ? "current-password" : "new-password"} hint={way === "setup" ? "Twelve characters at least." : ""} />
        )}
        {way === "user" && (
          <details>
            <summary>Another tenant</summary>
            <Field name="tenant" label="Tenant" type="text" complete="organization" optional />
          </details>
        )}
        {way === "key" && (
          <label class="check">
            <input type="checkbox" name="keep" defaultChecked /> Keep it until this tab is closed
          </label>
        )}
        <Trouble words={trouble} />
        <button type="submit" class="primary" disabled={busy}>{way === "setup" ? "Create the first admin" : "Log in"}</button>
      </form>
    </main>
  );
}

const LABELS: Record<Way, string> = { user: "Password", key: "Key", setup: "First user" };

interface FieldProps {
  readonly name: string;
  readonly label: string;
  readonly type: "text" | "password";
  readonly complete: "off" | "username" | "current-password" | "new-password" | "organization";
  readonly hint?: string;
  readonly focus?: boolean;
  readonly optional?: boolean;
}

function Field({ name, label, type, complete, hint = "", focus = false, optional = false }: FieldProps): JSX.Element {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        name={name}
        type={type as "text"}
        autoComplete={complete}
        autoCapitalize="none"
        spellcheck={false}
        required={!optional}
        ref={(element) => {
          if (focus && element && document.activeElement === document.body) element.focus();
        }}
      />
      {hint && <small>{hint}</small>}
    </label>
  );
}
