// Written by scripts/types.mjs from the server's description. Do not edit.

/** What can be asked, and what it is answered with. */
export interface Routes {
  "GET /v1/auth/config": { query: undefined; body: undefined; answer: AuthConfig };
  "GET /v1/auth/me": { query: undefined; body: undefined; answer: Me };
  "POST /v1/auth/login": { query: undefined; body: LoginWish; answer: Me };
  "POST /v1/auth/setup": { query: undefined; body: Setup; answer: Me };
  "POST /v1/auth/logout": { query: undefined; body: undefined; answer: undefined };
  "GET /v1/agents": { query: undefined; body: undefined; answer: Agents };
  "GET /v1/catalogue": { query: { readonly provider?: string }; body: undefined; answer: Catalogue };
  "GET /v1/waits": { query: undefined; body: undefined; answer: Waits };
  "GET /v1/sessions": { query: { readonly after?: string; readonly limit?: number; readonly state?: readonly ("ended" | "idle" | "open" | "running" | "waiting")[] }; body: undefined; answer: Page };
  "POST /v1/sessions": { query: undefined; body: Creating; answer: Created };
  "GET /v1/sessions/{session}": { query: undefined; body: undefined; answer: SessionView };
  "DELETE /v1/sessions/{session}": { query: undefined; body: undefined; answer: undefined };
  "GET /v1/sessions/{session}/events": { query: { readonly after?: number; readonly until?: "forever" | "idle"; readonly limit?: number }; body: undefined; answer: EventPage };
  "POST /v1/sessions/{session}/prompts": { query: undefined; body: PromptBody; answer: Asked };
  "POST /v1/sessions/{session}/proceed": { query: undefined; body: Proceeding; answer: Asked };
  "POST /v1/sessions/{session}/steer": { query: undefined; body: More; answer: Said };
  "POST /v1/sessions/{session}/follow-up": { query: undefined; body: More; answer: Said };
  "POST /v1/sessions/{session}/pause": { query: undefined; body: Why; answer: Said };
  "POST /v1/sessions/{session}/resume": { query: undefined; body: Why; answer: Said };
  "POST /v1/sessions/{session}/abort": { query: undefined; body: Which; answer: Said };
  "POST /v1/sessions/{session}/waits/{token}": { query: undefined; body: Answered; answer: Said };
  "POST /v1/sessions/{session}/fork": { query: undefined; body: Forking; answer: Made };
  "POST /v1/sessions/{session}/rewind": { query: undefined; body: Rewinding; answer: Rewound };
  "GET /v1/sessions/{session}/diff": { query: { readonly since?: number; readonly until?: number }; body: undefined; answer: Diff };
}

/** What events say, by type. */
export interface Payloads {
  "abort.requested": AbortRequested;
  "account.opened": AccountOpened;
  "answer.judged": AnswerJudged;
  "answer.lacking": AnswerLacking;
  "answer.refused": AnswerRefused;
  "answer.unfinished": AnswerUnfinished;
  "budget.exhausted": BudgetExhausted;
  "call.reopened": CallReopened;
  "contract.violated": ContractViolated;
  "files.kept": FilesKept;
  "files.restored": FilesRestored;
  "input.applied": InputApplied;
  "input.dropped": InputDropped;
  "input.received": InputReceived;
  "limits.raised": LimitsRaised;
  "model.failed": ModelFailed;
  "model.finished": ModelFinished;
  "model.started": ModelStarted;
  "phase.failed": PhaseFailed;
  "phase.started": PhaseStarted;
  "process.ended": ProcessEnded;
  "process.lost": ProcessLost;
  "process.started": ProcessStarted;
  "review.requested": ReviewRequested;
  "run.closed": RunClosed;
  "run.closing": LastAnswerAsked;
  "run.finished": RunFinished;
  "run.started": RunStarted;
  "session.ended": SessionEnded;
  "session.forked": Forked;
  "session.paused": Paused;
  "session.resumed": Resumed;
  "session.rewound": EventRewound;
  "tool.finished": ToolFinished;
  "tool.noted": ToolNoted;
  "tool.started": ToolStarted;
  "tool.waiting": ToolWaiting;
  "wait.resolved": WaitResolved;
}

export interface AbortRequested {
  readonly reason?: string;
  readonly run?: string;
}

export interface AccountOpened {
  readonly account: readonly (string)[];
}

export interface AgentView {
  readonly name: string;
  readonly model: string;
  readonly tools?: readonly (string)[];
  readonly phases?: readonly (string)[];
  readonly typed?: boolean;
  readonly output?: Readonly<Record<string, unknown>> | null;
  readonly limits?: Limits;
}

export interface Agents {
  readonly agents: readonly (AgentView)[];
}

export interface Ancestor {
  readonly stream: string;
  readonly agent: string;
}

export interface AnswerJudged {
  readonly output?: string;
  readonly why?: string;
  readonly text?: string;
}

export interface AnswerLacking {
  readonly lacking: number;
  readonly text: string;
}

export interface AnswerRefused {
  readonly token: string;
}

export interface AnswerUnfinished {

}

export interface Answered {
  readonly decision: "answer" | "approve" | "changes" | "deny";
  readonly always?: boolean;
  readonly arguments?: Readonly<Record<string, unknown>> | null;
  readonly reason?: string;
  readonly answers?: readonly (string | readonly (string)[])[];
}

export interface Asked {
  readonly session: string;
  readonly key: string;
  readonly status: "accepted" | "duplicate";
}

export interface AssistantMessage {
  readonly type: "assistant";
  readonly parts: readonly (Text | Thinking | ToolCall | ProviderStep)[];
  readonly model: string;
  readonly stop?: "length" | "refusal" | "stop" | "tool_calls";
  readonly usage?: Usage;
}

export interface Attachment {
  readonly name: string;
  readonly media_type: string;
  readonly digest: string;
  readonly size: number;
  readonly chunks?: readonly (string)[];
}

export interface AuthConfig {
  readonly open: boolean;
  readonly login: boolean;
  readonly setup_required: boolean;
  readonly issuers?: readonly (string)[];
}

export interface Bounded {
  readonly steps?: number | null;
  readonly tool_calls?: number | null;
  readonly tokens?: number | null;
  readonly dollars?: number | null;
  readonly seconds?: number | null;
}

export interface BudgetExhausted {
  readonly limit: string;
  readonly again_at?: number | null;
  readonly short?: Shortage | null;
}

export interface CallReopened {
  readonly call_id: string;
  readonly nested?: boolean;
  readonly before?: SnapshotRef | null;
}

export interface Catalogue {
  readonly source: string;
  readonly day: string;
  readonly providers?: readonly (string)[];
  readonly models?: readonly (Model)[];
}

export interface Changed {
  readonly path: string;
  readonly kind: string;
}

export interface Citation {
  readonly source: string;
  readonly title?: string;
  readonly quote?: string;
}

export interface ContractViolated {
  readonly kind: "missing_marker" | "missing_tool" | "repeated_tool" | "wrong_tool";
  readonly name?: string;
  readonly call_id?: string;
  readonly text?: string;
  readonly ends?: boolean;
}

export interface Control {
  readonly steers?: "all" | "one";
  readonly follow_ups?: "all" | "one";
  readonly patience?: number | null;
  readonly review?: number | null;
  readonly idle?: number | null;
}

export interface ControlBody {
  readonly patience?: number | null;
  readonly review?: number | null;
  readonly idle?: number | null;
}

export interface Cost {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
}

export interface Created {
  readonly session: string;
  readonly prompt?: Asked | null;
}

export interface Creating {
  readonly name?: string | null;
  readonly prompt?: PromptBody | null;
}

export interface Diff {
  readonly changes?: readonly (Changed)[];
  readonly text?: string;
}

export interface Document {
  readonly type: "document";
  readonly media_type: "application/pdf" | "text/plain";
  readonly data: string;
  readonly name?: string;
}

export interface DocumentPart {
  readonly type: "document";
  readonly media_type: "application/pdf" | "text/plain";
  readonly data: string;
  readonly name?: string;
}

export interface Effect {
  readonly workspace?: boolean;
  readonly outside?: "checkable" | "keyed" | "none" | "unsafe";
  readonly sends?: boolean;
}

export interface EventPage {
  readonly events: readonly (unknown)[];
  readonly after: number;
  readonly more: boolean;
}

export interface Execution {
  readonly sequence?: readonly (string)[];
  readonly markers?: readonly (string)[];
  readonly on_violation?: "fail" | "observe";
  readonly repeats?: "answer" | "deny" | "run";
  readonly stop_on_first_tool?: boolean;
  readonly besides?: readonly (string)[];
}

export interface FilesKept {
  readonly files: SnapshotRef;
}

export interface FilesRestored {
  readonly files?: SnapshotRef | null;
  readonly before?: SnapshotRef | null;
}

export interface Forked {
  readonly parent: string;
  readonly at: number;
  readonly workspace?: string;
  readonly files?: readonly (SnapshotRef)[];
  readonly foreign?: boolean;
}

export interface Forking {
  readonly at?: number | null;
  readonly name?: string | null;
}

export interface Glimpse {
  readonly run?: number;
  readonly status?: "aborted" | "completed" | "failed" | "limited" | "";
  readonly reason?: string;
  readonly steps?: number;
  readonly tokens?: number;
  readonly cost?: number | null;
  readonly prompt?: string;
}

export interface Image {
  readonly type: "image";
  readonly media_type: "image/gif" | "image/jpeg" | "image/png" | "image/webp";
  readonly data: string;
  readonly name?: string;
}

export interface ImagePart {
  readonly type: "image";
  readonly media_type: "image/gif" | "image/jpeg" | "image/png" | "image/webp";
  readonly data: string;
  readonly name?: string;
}

export interface InputApplied {
  readonly input: number;
}

export interface InputDropped {
  readonly input: number;
  readonly reason?: string;
}

export interface InputReceived {
  readonly kind: "follow_up" | "proceed" | "prompt" | "steer";
  readonly message: UserMessage;
  readonly setup?: EventSetup | null;
  readonly run?: string;
  readonly history?: readonly (UserMessage | AssistantMessage | ToolMessage)[];
}

export interface LastAnswerAsked {
  readonly limit: string;
}

export interface Limits {
  readonly steps?: number | null;
  readonly tool_calls?: number | null;
  readonly tokens?: number | null;
  readonly dollars?: number | null;
  readonly seconds?: number | null;
  readonly consecutive_errors?: number | null;
  readonly identical_repeats?: number | null;
  readonly last_answer?: boolean;
  readonly press_on?: boolean;
  readonly depth?: number;
  readonly children?: number;
  readonly descendants?: number;
  readonly model_retries?: number;
  readonly calls_at_once?: number;
}

export interface LimitsRaised {
  readonly run: string;
  readonly seconds?: number;
  readonly steps?: number;
}

export interface Lineage {
  readonly token: string;
  readonly line: readonly (Ancestor)[];
  readonly origin?: string;
  readonly files?: readonly (SnapshotRef)[];
  readonly account?: readonly (string)[];
  readonly phase?: boolean;
  readonly family?: readonly (string)[];
}

export interface Listed {
  readonly session: string;
  readonly state: "ended" | "idle" | "open" | "running" | "waiting";
  readonly seq: number;
  readonly created_at: number;
  readonly updated_at: number;
  readonly unread?: number;
  readonly parent?: string | null;
  readonly last?: Glimpse | null;
  readonly first?: string;
}

export interface LoginWish {
  readonly name: string;
  readonly password: string;
  readonly tenant?: string;
}

export interface Made {
  readonly session: string;
  readonly events?: number;
}

export interface Me {
  readonly tenant: string;
  readonly user: string;
  readonly scopes: readonly ("admin" | "metrics:read" | "models:call" | "sessions:read" | "sessions:write" | "waits:answer")[];
  readonly how: "key" | "local" | "token" | "user";
  readonly id?: string;
  readonly role?: "admin" | "controller" | "reader" | "writer" | null;
  readonly agents?: readonly (string)[] | null;
  readonly lane?: "autonomous" | "interactive";
}

export interface Model {
  readonly name: string;
  readonly price?: Cost | null;
  readonly context_window?: number | null;
  readonly max_output_tokens?: number | null;
  readonly inputs?: readonly (string)[] | null;
  readonly thinking?: readonly (string)[] | null;
}

export interface ModelFailed {
  readonly code: string;
  readonly message: string;
  readonly again?: boolean;
  readonly retry_at?: number | null;
  readonly usage?: Usage | null;
  readonly cost?: number | null;
  readonly exceeded?: boolean;
  readonly model?: string;
  readonly next?: string;
  readonly next_at?: number;
  readonly partial?: AssistantMessage | null;
  readonly mode?: "" | "continue" | "reset";
  readonly estimated?: boolean;
}

export interface ModelFinished {
  readonly message: AssistantMessage;
  readonly cost?: number | null;
  readonly duration?: number;
  readonly exceeded?: boolean;
}

export interface ModelStarted {
  readonly tokens: number;
  readonly cost?: number | null;
  readonly model?: string;
}

export interface More {
  readonly text?: string;
  readonly parts?: readonly (TextPart | ImagePart | DocumentPart)[];
  readonly key?: string;
}

export interface Nested {
  readonly parent: string;
  readonly name: string;
  readonly arguments: string;
}

export interface Option {
  readonly label: string;
  readonly description?: string;
}

export interface Page {
  readonly sessions: readonly (Listed)[];
  readonly after?: string;
}

export interface Paused {
  readonly reason?: string;
}

export interface PhaseFailed {
  readonly phase: number;
  readonly why: string;
}

export interface PhaseSpec {
  readonly name: string;
  readonly agent: string;
  readonly prompt?: string;
  readonly optional?: boolean;
  readonly fallback?: string;
  readonly workspace?: "forked" | "none" | "shared";
  readonly seconds?: number | null;
}

export interface PhaseStarted {
  readonly phase: number;
  readonly wait: Wait;
}

export interface Proceeding {
  readonly agent?: string;
  readonly limits?: Bounded | null;
}

export interface ProcessEnded {
  readonly process: string;
  readonly name: string;
  readonly code: number;
}

export interface ProcessLost {
  readonly process: string;
  readonly name: string;
  readonly why: string;
}

export interface ProcessStarted {
  readonly process: string;
  readonly name: string;
  readonly command: string;
  readonly call_id: string;
  readonly epoch: number;
  readonly absent?: readonly (string)[];
}

export interface PromptBody {
  readonly text?: string;
  readonly parts?: readonly (TextPart | ImagePart | DocumentPart)[];
  readonly agent?: string;
  readonly limits?: Bounded | null;
  readonly mode?: "accept-edits" | "ask" | "auto" | "read-only" | null;
  readonly unattended?: boolean;
  readonly control?: ControlBody | null;
  readonly files?: readonly (string)[];
  readonly deliver?: readonly (string)[];
  readonly key?: string;
  readonly if_idle?: boolean;
  readonly interrupt?: boolean;
}

export interface ProviderStep {
  readonly type: "provider_step";
  readonly name: string;
  readonly data: string;
  readonly text?: string;
}

export interface Question {
  readonly question: string;
  readonly header?: string;
  readonly options?: readonly (Option)[];
  readonly multiple?: boolean;
  readonly free?: boolean;
}

export interface Resumed {

}

export interface ReviewRequested {
  readonly wait: Wait;
  readonly changes_left?: number;
}

export interface Rewinding {
  readonly at?: number | null;
  readonly to?: number | null;
}

export interface Rewound {
  readonly seq: number;
}

export interface RunClosed {
  readonly run: number;
}

export interface RunFinished {
  readonly status: "aborted" | "completed" | "failed" | "limited";
  readonly reason?: string;
  readonly steps?: number;
  readonly usage?: Usage;
  readonly cost?: number | null;
  readonly denied?: number;
  readonly files?: SnapshotRef | null;
  readonly output?: string;
}

export interface RunStarted {
  readonly input: number;
  readonly setup: EventSetup;
}

export interface RunView {
  readonly run: number;
  readonly key: string;
  readonly agent: string;
  readonly spec: string;
  readonly model: string;
  readonly status?: "aborted" | "completed" | "failed" | "limited" | null;
  readonly reason?: string;
  readonly steps?: number;
  readonly tool_calls?: number;
  readonly usage?: Usage;
  readonly cost?: number | null;
  readonly started_at?: number;
  readonly finished_at?: number | null;
}

export interface Said {
  readonly status: "accepted" | "duplicate";
  readonly n: number;
  readonly key: string;
}

export interface SessionEnded {
  readonly reason?: string;
}

export interface SessionView {
  readonly session: string;
  readonly state: "ended" | "idle" | "open" | "running" | "waiting";
  readonly phase: "acting" | "ended" | "idle" | "paused" | "thinking" | "waiting";
  readonly paused: boolean;
  readonly seq: number;
  readonly created_at: number;
  readonly updated_at: number;
  readonly unread: number;
  readonly queued: number;
  readonly parent: string | null;
  readonly parent_seq: number;
  readonly runs: number;
  readonly usage: Usage;
  readonly cost: number | null;
  readonly run: RunView | null;
  readonly last: RunView | null;
  readonly waits: readonly (Waiting)[];
}

export interface Setup {
  readonly token: string;
  readonly name: string;
  readonly password: string;
}

export interface Shortage {
  readonly request: number;
  readonly answer: number;
  readonly left: number;
}

export interface SnapshotRef {
  readonly store: string;
  readonly manifest: string;
  readonly paths?: readonly (string)[];
  readonly whole?: boolean;
}

export interface Text {
  readonly type: "text";
  readonly text: string;
  readonly signature?: string;
  readonly citations?: readonly (Citation)[];
}

export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

export interface Thinking {
  readonly type: "thinking";
  readonly text: string;
  readonly signature?: string;
  readonly redacted?: string;
}

export interface ToolCall {
  readonly type: "tool_call";
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
  readonly signature?: string;
}

export interface ToolError {
  readonly code: string;
  readonly reason: string;
  readonly status?: "denied" | "error";
  readonly retryable?: boolean;
}

export interface ToolFinished {
  readonly call_id: string;
  readonly result: ToolResult;
  readonly duration?: number;
  readonly nested?: Nested | null;
  readonly rolled_back?: boolean;
}

export interface ToolMessage {
  readonly type: "tool";
  readonly call_id: string;
  readonly name: string;
  readonly content: string;
  readonly is_error?: boolean;
}

export interface ToolNoted {
  readonly call_id: string;
  readonly kind: string;
  readonly topic: string;
  readonly text?: string;
  readonly tags?: readonly (string)[];
  readonly scope?: string;
}

export interface ToolResult {
  readonly content: string;
  readonly error?: ToolError | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly stored?: string;
  readonly attachments?: readonly (Attachment)[];
}

export interface ToolStarted {
  readonly call_id: string;
  readonly effect: Effect;
  readonly snapshot?: SnapshotRef | null;
  readonly posture?: string;
  readonly nested?: Nested | null;
  readonly unsaved?: string;
  readonly terminal?: boolean;
  readonly absent?: readonly (string)[];
  readonly arguments?: string;
}

export interface ToolWaiting {
  readonly call_id: string;
  readonly wait: Wait;
  readonly beside?: readonly (Wait)[];
}

export interface Usage {
  readonly input_tokens?: number;
  readonly output_tokens?: number;
  readonly cache_read_tokens?: number;
  readonly cache_write_tokens?: number;
  readonly reasoning_tokens?: number;
  readonly estimated?: boolean;
}

export interface UserMessage {
  readonly type: "user";
  readonly parts: readonly (Text | Image | Document)[];
}

export interface Wait {
  readonly token: string;
  readonly kind?: "approval" | "callback" | "child" | "pause" | "question" | "remote" | "review" | "timer";
  readonly deadline?: number | null;
  readonly prompt?: string;
  readonly subject?: string;
  readonly grant?: string;
  readonly digest?: string;
  readonly arguments?: string;
  readonly questions?: readonly (Question)[];
  readonly attachments?: readonly (Attachment)[];
  readonly below?: string;
}

export interface WaitResolved {
  readonly token: string;
  readonly content?: string | null;
  readonly is_error?: boolean;
  readonly arguments?: string;
  readonly outcome?: EventOutcome | null;
  readonly error?: ToolError | null;
  readonly result?: ToolResult | null;
  readonly anew?: boolean;
}

export interface Waiting {
  readonly id: string;
  readonly session: string;
  readonly token: string;
  readonly kind: "approval" | "question" | "review";
  readonly since: number;
  readonly deadline?: number | null;
  readonly prompt?: string;
  readonly tool?: string;
  readonly call?: ToolCall | null;
  readonly editable?: boolean;
  readonly questions?: readonly (Question)[];
  readonly changes_left?: number;
  readonly answered?: boolean;
  readonly paused?: boolean;
}

export interface Waits {
  readonly waits: readonly (Waiting)[];
}

export interface Which {
  readonly run?: string;
  readonly reason?: string;
  readonly key?: string;
}

export interface Why {
  readonly reason?: string;
  readonly key?: string;
}

export interface EventOutcome {
  readonly status: "aborted" | "completed" | "failed" | "limited";
  readonly reason?: string;
  readonly usage?: Usage;
  readonly cost?: number | null;
}

export interface EventRewound {
  readonly to: number;
  readonly files?: readonly (SnapshotRef)[];
  readonly workspace?: string;
}

export interface EventSetup {
  readonly spec: string;
  readonly model: string;
  readonly limits?: Limits;
  readonly workspace?: string;
  readonly mode?: "accept-edits" | "ask" | "auto" | "read-only";
  readonly unattended?: boolean;
  readonly effects?: Readonly<Record<string, "checkable" | "keyed" | "none" | "unsafe">>;
  readonly control?: Control;
  readonly user?: string;
  readonly agents?: readonly (string)[];
  readonly lineage?: Lineage | null;
  readonly phases?: readonly (PhaseSpec)[];
  readonly deliver?: readonly (string)[];
  readonly files?: readonly (Attachment)[];
  readonly typed?: boolean;
  readonly priority?: number;
  readonly background?: boolean;
  readonly execution?: Execution | null;
  readonly origin?: Readonly<Record<string, string>>;
}
