// Made by `make docs` from the code. Change it there.

export type SignInWays = {
  password: boolean;
  providers: string[];
};

export type PasswordSignIn = {
  email: string;
  password: string;
};

export type SignedIn = {
  signed_in?: boolean;
};

export type InvitationLookup = {
  token: string;
};

export type InvitationBody = {
  organisation: string;
  email: string;
  role: string;
  expires_at: number;
};

export type AcceptInvitation = {
  token: string;
  name: string;
  password: string;
};

export type SessionBody = {
  user: Reference;
  email: string | null;
  has_password: boolean;
  organisation: Reference;
  project: Reference;
  role: string;
  operator: boolean;
  permissions: string[];
  build: string;
  currency: string;
  month: Month;
};

export type Reference = {
  id: string;
  name: string;
};

export type Month = {
  cost_nanos: number;
  budget_nanos: number | null;
};

export type OwnProjects = {
  data: ProjectBody[];
};

export type ProjectBody = {
  id: string;
  name: string;
  status: "active" | "archived";
  created_at: number;
  archived_at: number | null;
  role?: "admin" | "developer" | "owner" | "viewer" | null;
  object?: "organization.project";
};

export type ChooseProject = {
  project: string;
};

export type BrowserSessions = {
  data: BrowserSession[];
};

export type BrowserSession = {
  id: string;
  created_at: number;
  expires_at: number;
  last_used_at: number | null;
  agent: string;
  current: boolean;
};

export type Deleted = {
  id: string;
  object: string;
  deleted?: boolean;
};

export type ChangeProfile = {
  name?: string | null;
  email?: string | null;
};

export type ProfileBody = {
  id: string;
  name: string;
  email: string | null;
};

export type ChangePassword = {
  new: string;
  current?: string;
};

export type PasswordChanged = {
  changed?: boolean;
};

export type SignedOut = {
  signed_out?: boolean;
};

export type PriceList = {
  currency: string;
  prices: PriceBody[];
};

export type PriceBody = {
  model: string;
  input_nanos_per_million: number;
  cached_input_nanos_per_million: number;
  output_nanos_per_million: number;
};

export type OrganisationBody = {
  id: string;
  name: string;
  created_at: number;
  object?: "organization";
};

export type NameRequest = {
  name: string;
};

export type OrganisationList = {
  data: OrganisationBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type InviteRequest = {
  email: string;
  role?: "admin" | "developer" | "owner" | "viewer";
  projects?: InviteProject[];
  operator?: boolean;
};

export type InviteProject = {
  id: string;
  role: "admin" | "developer" | "owner" | "viewer";
};

export type InviteBody = {
  id: string;
  email: string;
  role: "admin" | "developer" | "owner" | "viewer";
  status: "accepted" | "expired" | "pending" | "revoked";
  created_at: number;
  expires_at: number;
  accepted_at: number | null;
  projects: InviteProject[];
  url?: string | null;
  object?: "organization.invite";
};

export type UserList = {
  data: UserBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type UserBody = {
  id: string;
  name: string;
  email: string | null;
  role: "admin" | "developer" | "owner" | "viewer";
  operator: boolean;
  added_at: number;
  object?: "organization.user";
};

export type ChangeUserRequest = {
  name?: string | null;
  role?: "admin" | "developer" | "owner" | "viewer" | null;
  operator?: boolean | null;
};

export type SignInLink = {
  url: string;
  expires_at: number;
};

export type InviteList = {
  data: InviteBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type ProjectList = {
  data: ProjectBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type ProjectUserList = {
  data: ProjectUserBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type ProjectUserBody = {
  id: string;
  name: string;
  email: string | null;
  role: "admin" | "developer" | "owner" | "viewer";
  added_at: number;
  object?: "organization.project.user";
};

export type AddProjectUserRequest = {
  user_id: string;
  role: "admin" | "developer" | "owner" | "viewer";
};

export type RoleRequest = {
  role: "admin" | "developer" | "owner" | "viewer";
};

export type ServiceAccountList = {
  data: ServiceAccountBody[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
  object?: "list";
};

export type ServiceAccountBody = {
  id: string;
  name: string;
  role: "admin" | "developer" | "owner" | "viewer";
  created_at: number;
  api_key?: KeyBody | null;
  object?: "organization.project.service_account";
};

export type KeyBody = {
  id: string;
  name: string;
  redacted_value: string;
  owner: KeyOwner;
  created_at: number;
  last_used_at: number | null;
  expires_at: number | null;
  revoked_at: number | null;
  previous_until: number | null;
  scopes: string[] | null;
  models: string[] | null;
  monthly_cap_nanos: number | null;
  server_tags?: string[];
  value?: string | null;
  object?: "organization.project.api_key";
};

export type KeyOwner = {
  id: string;
  name: string;
  type: "service_account" | "user";
};

export type ServiceAccountRequest = {
  name: string;
  role?: "admin" | "developer" | "owner" | "viewer";
};

export type KeyList = {
  data: KeyBody[];
  object?: "list";
};

export type KeyRequest = {
  name: string;
  scopes?: string[] | null;
  models?: string[] | null;
  monthly_cap_nanos?: number | null;
  expires_at?: number | null;
  server_tags?: string[];
  user_id?: string | null;
};

export type ChangeKeyRequest = {
  name?: string;
  scopes?: string[] | null;
  models?: string[] | null;
  monthly_cap_nanos?: number | null;
  expires_at?: number | null;
  server_tags?: string[];
};

export type RotateKeyRequest = {
  overlap_seconds?: number;
};

export type AuditList = {
  data: AuditBody[];
  has_more: boolean;
  last_number: number | null;
  object?: "list";
};

export type AuditBody = {
  number: number;
  effective_at: number;
  type: string;
  actor: AuditActor;
  project: string | null;
  object_id: string;
  details: Record<string, string>;
  hash: string;
  object?: "organization.audit_log";
};

export type AuditActor = {
  user: string | null;
  api_key: string | null;
};

export type ChatCompletionRequest = {
  model: string;
  temperature?: number | null;
  top_p?: number | null;
  top_k?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  stream?: boolean | null;
  stream_options?: StreamOptions | null;
  ignore_eos?: boolean | null;
  frequency_penalty?: number | null;
  presence_penalty?: number | null;
  logit_bias?: Record<string, number> | null;
  min_p?: number | null;
  repetition_penalty?: number | null;
  stop_token_ids?: number[] | null;
  min_tokens?: number | null;
  cache_salt?: string | null;
  structured_outputs?: StructuredOutputs | null;
  n?: number | null;
  user?: string | null;
  return_token_ids?: boolean | null;
  continue_token_ids?: number[] | null;
  bad_words?: string[] | null;
  allowed_token_ids?: number[] | null;
  include_stop_str_in_output?: boolean | null;
  skip_special_tokens?: boolean | null;
  prompt_logprobs?: number | null;
  truncate_prompt_tokens?: number | null;
  return_progress?: boolean | null;
  priority?: number | null;
  messages: ChatMessage[];
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  response_format?: ResponseFormat | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
  tools?: Tool[] | null;
  tool_choice?: "auto" | "none" | "required" | ChosenTool | null;
  parallel_tool_calls?: boolean | null;
  reasoning_effort?: string | null;
  service_tier?: "auto" | "default" | "flex" | "priority" | null;
  store?: boolean | null;
  metadata?: Record<string, string> | null;
  add_generation_prompt?: boolean | null;
  continue_final_message?: boolean | null;
  chat_template_kwargs?: Record<string, string | number | boolean | null> | null;
};

export type StreamOptions = {
  include_usage?: boolean;
  include_obfuscation?: boolean | null;
};

export type StructuredOutputs = {
  json?: Record<string, unknown> | string | null;
  regex?: string | null;
  choice?: string[] | null;
  grammar?: string | null;
};

export type ChatMessage = {
  role: Role;
  content?: string | TextPart[] | null;
  name?: string | null;
  tool_calls?: ToolCall[] | null;
  reasoning_content?: string | null;
  refusal?: string | null;
  audio?: null;
  function_call?: null;
  annotations?: unknown[] | null;
  tool_call_id?: string | null;
};

export type Role = "assistant" | "developer" | "system" | "tool" | "user";

export type TextPart = {
  type: "text";
  text: string;
};

export type ToolCall = {
  id: string;
  function: FunctionCall;
  type?: "function";
};

export type FunctionCall = {
  name: string;
  arguments: string;
};

export type ResponseFormat = {
  type: "json_object" | "json_schema" | "text";
  json_schema?: Record<string, unknown> | null;
};

export type Tool = {
  type: "function";
  function: FunctionDefinition;
};

export type FunctionDefinition = {
  name: string;
  description?: string | null;
  parameters?: Record<string, unknown> | null;
  strict?: boolean | null;
};

export type ChosenTool = {
  type: "function";
  function: ChosenFunction;
};

export type ChosenFunction = {
  name: string;
};

export type ChatCompletion = {
  id: string;
  created: number;
  model: string;
  choices: ChatChoice[];
  usage: UsageBody;
  object?: "chat.completion";
  service_tier?: string | null;
  prompt_logprobs?: (Record<string, PromptLogprob> | null)[];
  timings?: Timings;
};

export type ChatChoice = {
  index: number;
  message: AnswerMessage;
  finish_reason: "abort" | "content_filter" | "length" | "stop" | "tool_calls";
  logprobs?: ChatLogprobs | null;
  token_ids?: number[];
};

export type AnswerMessage = {
  content: string | null;
  role?: "assistant";
  refusal?: string | null;
  tool_calls?: ToolCall[];
  reasoning_content?: string;
};

export type ChatLogprobs = {
  content: TokenLogprob[] | null;
  refusal?: null;
};

export type TokenLogprob = {
  token: string;
  logprob: number;
  bytes?: number[] | null;
  top_logprobs: LikelyToken[];
};

export type LikelyToken = {
  token: string;
  logprob: number;
  bytes?: number[] | null;
};

export type UsageBody = {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details?: PromptTokensDetails | null;
  completion_tokens_details?: CompletionTokensDetails | null;
};

export type PromptTokensDetails = {
  cached_tokens?: number;
};

export type CompletionTokensDetails = {
  reasoning_tokens?: number;
};

export type PromptLogprob = {
  logprob: number;
  rank: number;
  decoded_token: string;
};

export type Timings = {
  queue_ms?: number;
  first_token_ms: number;
  total_ms: number;
};

export type ChatCompletionChunk = {
  id: string;
  created: number;
  model: string;
  choices: ChunkChoice[];
  object?: "chat.completion.chunk";
  usage?: UsageBody | null;
  service_tier?: string | null;
  timings?: Timings;
  prompt_progress?: PromptProgress;
};

export type ChunkChoice = {
  index: number;
  delta: Delta;
  finish_reason?: "abort" | "content_filter" | "length" | "stop" | "tool_calls" | null;
  logprobs?: ChatLogprobs | null;
  token_ids?: number[];
};

export type Delta = {
  role?: "assistant";
  content?: string;
  tool_calls?: ToolCallDelta[];
  reasoning_content?: string;
};

export type ToolCallDelta = {
  index: number;
  function: FunctionCallDelta;
  id?: string;
  type?: "function";
};

export type FunctionCallDelta = {
  name?: string;
  arguments?: string;
};

export type PromptProgress = {
  total: number;
  cache: number;
  processed: number;
  time_ms: number;
  place?: number;
};

export type CompletionRequest = {
  model: string;
  temperature?: number | null;
  top_p?: number | null;
  top_k?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  stream?: boolean | null;
  stream_options?: StreamOptions | null;
  ignore_eos?: boolean | null;
  frequency_penalty?: number | null;
  presence_penalty?: number | null;
  logit_bias?: Record<string, number> | null;
  min_p?: number | null;
  repetition_penalty?: number | null;
  stop_token_ids?: number[] | null;
  min_tokens?: number | null;
  cache_salt?: string | null;
  structured_outputs?: StructuredOutputs | null;
  n?: number | null;
  user?: string | null;
  return_token_ids?: boolean | null;
  continue_token_ids?: number[] | null;
  bad_words?: string[] | null;
  allowed_token_ids?: number[] | null;
  include_stop_str_in_output?: boolean | null;
  skip_special_tokens?: boolean | null;
  prompt_logprobs?: number | null;
  truncate_prompt_tokens?: number | null;
  return_progress?: boolean | null;
  priority?: number | null;
  prompt: string | number[];
  max_tokens?: number;
  logprobs?: number | null;
  echo?: boolean | null;
  best_of?: number | null;
  suffix?: string | null;
};

export type Completion = {
  id: string;
  created: number;
  model: string;
  choices: TextChoice[];
  object?: "text_completion";
  usage?: UsageBody | null;
  timings?: Timings;
  prompt_progress?: PromptProgress;
};

export type TextChoice = {
  index: number;
  text: string;
  finish_reason: "abort" | "length" | "stop" | null;
  logprobs?: TextLogprobs | null;
  token_ids?: number[];
  prompt_logprobs?: (Record<string, PromptLogprob> | null)[];
};

export type TextLogprobs = {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
};

export type EmbeddingRequest = {
  model: string;
  input: string | (string | number | number[])[];
  encoding_format?: "base64" | "float" | null;
  dimensions?: number | null;
  truncate_prompt_tokens?: number | null;
  cache_salt?: string | null;
  user?: string | null;
};

export type EmbeddingList = {
  data: Embedding[];
  model: string;
  usage: EmbeddingUsage;
  object?: "list";
};

export type Embedding = {
  embedding: number[] | string;
  index: number;
  object?: "embedding";
};

export type EmbeddingUsage = {
  prompt_tokens: number;
  total_tokens: number;
};

export type RequestStopped = {
  stopped?: boolean;
};

export type ModelList = {
  data: Model[];
  object?: "list";
};

export type Model = {
  id: string;
  created: number;
  owned_by: string;
  object?: "model";
  context_window?: number;
  sampling_defaults?: SamplingDefaults;
  parent?: string;
};

export type SamplingDefaults = {
  temperature?: number;
  top_p?: number;
};

export type CreateResponseRequest = {
  model?: string | null;
  input?: string | InputItem[];
  conversation?: string | ConversationReference | null;
  instructions?: string | null;
  stream?: boolean | null;
  background?: boolean | null;
  store?: boolean | null;
  temperature?: number | null;
  top_p?: number | null;
  max_output_tokens?: number | null;
  metadata?: Record<string, string> | null;
  truncation?: "auto" | "disabled" | null;
  previous_response_id?: string | null;
  prompt?: PromptOption | null;
  tools?: Record<string, unknown>[] | null;
  tool_choice?: string | Record<string, unknown> | null;
  parallel_tool_calls?: boolean | null;
  text?: TextOptions | null;
  include?: string[] | null;
  reasoning?: Thinking | null;
  service_tier?: "auto" | "default" | "flex" | "priority" | null;
  top_logprobs?: number | null;
  stream_options?: ResponseStreamOptions | null;
  user?: string | null;
  safety_identifier?: string | null;
  prompt_cache_key?: string | null;
  parent_item_id?: string | null;
  top_k?: number | null;
  seed?: number | null;
};

export type InputItem = {
  type?: "function_call" | "function_call_output" | "message" | "reasoning";
  role?: Role | null;
  content?: string | (InputText | AnswerText | ThoughtText | InputFile)[] | null;
  call_id?: string | null;
  name?: string | null;
  arguments?: string | null;
  parsed_arguments?: unknown;
  output?: string | InputText[] | null;
  summary?: unknown[] | null;
  encrypted_content?: null;
  id?: string | null;
  status?: string | null;
  phase?: string | null;
  response_id?: string | null;
  parent_id?: string | null;
};

export type InputText = {
  type: "input_text";
  text: string;
};

export type AnswerText = {
  type: "output_text";
  text: string;
  annotations?: unknown[] | null;
  logprobs?: unknown[] | null;
  parsed?: unknown;
};

export type ThoughtText = {
  type: "reasoning_text";
  text: string;
};

export type InputFile = {
  type: "input_file";
  file_id?: string | null;
  file_data?: string | null;
  filename?: string | null;
};

export type ConversationReference = {
  id: string;
};

export type PromptOption = {
  id: string;
  version?: string | null;
  variables?: Record<string, string | number | boolean> | null;
};

export type TextOptions = {
  format?: TextFormat | null;
  verbosity?: string | null;
};

export type TextFormat = {
  type: "json_object" | "json_schema" | "text";
  name?: string | null;
  description?: string | null;
  schema?: Record<string, unknown> | null;
  strict?: boolean | null;
};

export type Thinking = {
  effort?: string | null;
  summary?: string | null;
  generate_summary?: string | null;
};

export type ResponseStreamOptions = {
  include_obfuscation?: boolean | null;
};

export type ResponseBody = {
  id: string;
  created_at: number;
  status: "cancelled" | "completed" | "failed" | "in_progress" | "incomplete";
  model: string;
  output: (MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody)[];
  instructions: string | null;
  metadata: Record<string, string>;
  temperature: number;
  top_p: number;
  max_output_tokens: number | null;
  conversation: ConversationReference | null;
  error?: ResponseErrorBody | null;
  incomplete_details?: IncompleteDetails | null;
  completed_at?: number | null;
  usage?: ResponseUsage;
  object?: "response";
  background?: boolean;
  parallel_tool_calls?: boolean;
  previous_response_id?: string | null;
  prompt?: PromptBody | null;
  tools?: unknown[];
  tool_choice?: string | Record<string, unknown>;
  reasoning?: ThinkingBody | null;
  service_tier?: string;
  truncation?: "auto" | "disabled";
  text?: Record<string, unknown>;
  truncated_items?: number;
  cost?: Cost;
  timings?: Timings;
};

export type MessageBody = {
  type: "message";
  id: string;
  status: "completed" | "in_progress" | "incomplete";
  response_id?: string;
  parent_id?: string | null;
  role: string;
  content: (OutputText | InputTextBody | InputFileBody)[];
  summary_through?: string;
  cost_nanos?: number;
};

export type OutputText = {
  type: "output_text";
  text: string;
  annotations?: unknown[];
  logprobs?: unknown[];
};

export type InputTextBody = {
  type: "input_text";
  text: string;
};

export type InputFileBody = {
  type: "input_file";
  filename: string;
  file_id?: string | null;
  characters: number;
};

export type FunctionCallBody = {
  type: "function_call";
  id: string;
  status: "completed" | "in_progress" | "incomplete";
  response_id?: string;
  parent_id?: string | null;
  call_id: string;
  name: string;
  arguments: string;
};

export type FunctionOutputBody = {
  type: "function_call_output";
  id: string;
  status: "completed" | "in_progress" | "incomplete";
  response_id?: string;
  parent_id?: string | null;
  call_id: string;
  output: string;
};

export type ReasoningBody = {
  type: "reasoning";
  id: string;
  status: "completed" | "in_progress" | "incomplete";
  response_id?: string;
  parent_id?: string | null;
  content: ReasoningText[];
  summary?: unknown[];
};

export type ReasoningText = {
  type: "reasoning_text";
  text: string;
};

export type ResponseErrorBody = {
  code: "rate_limit_exceeded" | "server_error";
  message: string;
  reason: string;
};

export type IncompleteDetails = {
  reason: "content_filter" | "max_output_tokens";
};

export type ResponseUsage = {
  input_tokens: number;
  input_tokens_details: InputTokensDetails;
  output_tokens: number;
  output_tokens_details: OutputTokensDetails;
  total_tokens: number;
};

export type InputTokensDetails = {
  cached_tokens?: number;
  cache_write_tokens?: number;
};

export type OutputTokensDetails = {
  reasoning_tokens?: number;
};

export type PromptBody = {
  id: string;
  version: string;
  variables: Record<string, string>;
};

export type ThinkingBody = {
  effort: string | null;
  summary?: null;
};

export type Cost = {
  nanos: number;
  currency: string;
};

export type ResponseCreated = {
  type: "response.created";
  sequence_number?: number;
  response: ResponseBody;
};

export type ResponseInProgress = {
  type: "response.in_progress";
  sequence_number?: number;
  response: ResponseBody;
};

export type OutputItemAdded = {
  type: "response.output_item.added";
  sequence_number?: number;
  item: MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody;
  output_index?: number;
};

export type ContentPartAdded = {
  type: "response.content_part.added";
  sequence_number?: number;
  item_id: string;
  part: OutputText | ReasoningText;
  output_index?: number;
  content_index?: number;
};

export type OutputTextDelta = {
  type: "response.output_text.delta";
  sequence_number?: number;
  item_id: string;
  delta: string;
  output_index?: number;
  content_index?: number;
  logprobs?: unknown[];
};

export type ReasoningTextDelta = {
  type: "response.reasoning_text.delta";
  sequence_number?: number;
  item_id: string;
  delta: string;
  output_index?: number;
  content_index?: number;
};

export type FunctionCallArgumentsDelta = {
  type: "response.function_call_arguments.delta";
  sequence_number?: number;
  item_id: string;
  delta: string;
  output_index?: number;
};

export type ResponseReset = {
  type: "response.reset";
  sequence_number?: number;
  item_id: string;
  text: string;
  output?: (MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody)[];
};

export type ResponseResync = {
  type: "response.resync";
  sequence_number?: number;
  response: ResponseBody;
};

export type OutputTextDone = {
  type: "response.output_text.done";
  sequence_number?: number;
  item_id: string;
  text: string;
  output_index?: number;
  content_index?: number;
  logprobs?: unknown[];
};

export type ReasoningTextDone = {
  type: "response.reasoning_text.done";
  sequence_number?: number;
  item_id: string;
  text: string;
  output_index?: number;
  content_index?: number;
};

export type FunctionCallArgumentsDone = {
  type: "response.function_call_arguments.done";
  sequence_number?: number;
  item_id: string;
  name: string;
  arguments: string;
  output_index?: number;
};

export type ContentPartDone = {
  type: "response.content_part.done";
  sequence_number?: number;
  item_id: string;
  part: OutputText | ReasoningText;
  output_index?: number;
  content_index?: number;
};

export type OutputItemDone = {
  type: "response.output_item.done";
  sequence_number?: number;
  item: MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody;
  output_index?: number;
};

export type ResponseCompleted = {
  type: "response.completed";
  sequence_number?: number;
  response: ResponseBody;
};

export type ResponseIncomplete = {
  type: "response.incomplete";
  sequence_number?: number;
  response: ResponseBody;
};

export type ResponseFailed = {
  type: "response.failed";
  sequence_number?: number;
  response: ResponseBody;
};

export type ResponseCreateFrame = {
  type: "response.create";
  model?: string | null;
  input?: string | InputItem[];
  conversation?: string | ConversationReference | null;
  instructions?: string | null;
  stream?: boolean | null;
  background?: boolean | null;
  store?: boolean | null;
  temperature?: number | null;
  top_p?: number | null;
  max_output_tokens?: number | null;
  metadata?: Record<string, string> | null;
  truncation?: "auto" | "disabled" | null;
  previous_response_id?: string | null;
  prompt?: PromptOption | null;
  tools?: Record<string, unknown>[] | null;
  tool_choice?: string | Record<string, unknown> | null;
  parallel_tool_calls?: boolean | null;
  text?: TextOptions | null;
  include?: string[] | null;
  reasoning?: Thinking | null;
  service_tier?: "auto" | "default" | "flex" | "priority" | null;
  top_logprobs?: number | null;
  stream_options?: ResponseStreamOptions | null;
  user?: string | null;
  safety_identifier?: string | null;
  prompt_cache_key?: string | null;
  parent_item_id?: string | null;
  top_k?: number | null;
  seed?: number | null;
  stream_id?: string | null;
  acks?: boolean;
  idempotency_key?: string | null;
};

export type ResponseResumeFrame = {
  type: "response.resume";
  response_id: string;
  starting_after?: number | null;
  snapshot?: boolean;
  stream_id?: string | null;
  acks?: boolean;
};

export type ResponseCancelFrame = {
  type: "response.cancel";
  response_id: string;
  stream_id?: string | null;
};

export type AckFrame = {
  type: "ack";
  response_id: string;
  sequence_number: number;
  stream_id?: string | null;
};

export type SocketError = {
  type: "error";
  status: number;
  error: Record<string, unknown>;
  stream_id?: string | null;
};

export type ResponseEnded = {
  type: "response.ended";
  response_id: string;
  stream_id?: string | null;
};

export type ResponseDeleted = {
  id: string;
  object?: "response.deleted";
  deleted?: true;
};

export type ItemList = {
  data: (MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody)[];
  has_more: boolean;
  first_id: string;
  last_id: string;
  object?: "list";
};

export type CreateConversationRequest = {
  metadata?: Record<string, string> | null;
  items?: InputItem[] | null;
};

export type ConversationBody = {
  id: string;
  created_at: number;
  metadata: Record<string, string>;
  object?: "conversation";
  updated_at: number;
  active_response_id?: string | null;
  title: string;
  title_by: "model" | "nobody" | "user";
  folder: string;
  pinned: boolean;
  archived: boolean;
  leaf_id: string | null;
};

export type ConversationList = {
  data: ConversationBody[];
  has_more: boolean;
  first_id: string;
  last_id: string;
  object?: "list";
};

export type UpdateConversationRequest = {
  metadata?: Record<string, string> | null;
  title?: string | null;
  folder?: string | null;
  pinned?: boolean | null;
  archived?: boolean | null;
};

export type ConversationDeleted = {
  id: string;
  object?: "conversation.deleted";
  deleted?: true;
};

export type AddItemsRequest = {
  items: InputItem[];
};

export type ConversationTree = {
  conversation_id: string;
  leaf_id: string | null;
  nodes: TreeNode[];
  cost_nanos: number;
  object?: "conversation.tree";
};

export type TreeNode = {
  id: string;
  parent_id: string | null;
  role: string;
  kind: string;
  status: "completed" | "incomplete";
  created_at: number;
  response_id: string | null;
};

export type SwitchRequest = {
  item_id: string;
};

export type CompactRequest = {
  model: string;
  keep_questions?: number;
};

export type ContextBody = {
  model: string;
  context_window: number;
  used_tokens: number;
  answer_room: number;
  free_tokens: number;
  exact: boolean;
  fullness: "critical" | "full" | "ok" | "warning";
  parts: ContextPart[];
  truncated_items: number;
  cost: TurnCost | null;
  object?: "context";
};

export type ContextPart = {
  name: string;
  tokens: number;
};

export type TurnCost = {
  lowest_nanos: number;
  highest_nanos: number;
  currency: string;
};

export type TokenizeBody = {
  model: string;
  prompt?: string | null;
  messages?: ChatMessage[] | null;
};

export type Tokenized = {
  count: number;
  max_model_len: number;
  tokens: number[];
};

export type DetokenizeBody = {
  model: string;
  tokens: number[];
};

export type Detokenized = {
  prompt: string;
};

export type TokenCount = {
  input_tokens: number;
  exact?: boolean;
  object?: "response.input_tokens";
};

export type SearchResults = {
  data: HitBody[];
  object?: "list";
};

export type HitBody = {
  conversation_id: string;
  title: string;
  item_id: string | null;
  role: string | null;
  at: number;
  snippet: SnippetPartBody[];
};

export type SnippetPartBody = {
  text: string;
  match: boolean;
};

export type ShareBody = {
  id: string;
  conversation_id: string;
  created_at: number;
  secret?: string | null;
  object?: "conversation.share";
};

export type ShareList = {
  data: ShareBody[];
  object?: "list";
};

export type ShareDeleted = {
  id: string;
  object?: "conversation.share.deleted";
  deleted?: true;
};

export type SharedConversation = {
  title: string;
  shared_at: number;
  items: MessageBody[];
  object?: "conversation.shared";
};

export type ImportResult = {
  conversation_ids: string[];
  messages: number;
  skipped_messages: number;
};

export type CreatePromptRequest = {
  name: string;
  content: PromptContentBody;
  note?: string;
};

export type PromptContentBody = {
  instructions?: string;
  messages?: PromptMessageBody[];
  variables?: VariableBody[];
  model?: string | null;
  temperature?: number | null;
  top_p?: number | null;
  max_output_tokens?: number | null;
};

export type PromptMessageBody = {
  role: Role;
  content: string;
};

export type VariableBody = {
  name: string;
  kind?: "boolean" | "choice" | "number" | "text";
  default?: string | null;
  description?: string;
  choices?: string[];
};

export type StoredPromptBody = {
  id: string;
  name: string;
  created_at: number;
  updated_at: number;
  newest_version: number;
  labels: Record<string, number>;
  object?: "prompt";
};

export type PromptList = {
  data: StoredPromptBody[];
  has_more: boolean;
  object?: "list";
};

export type ImportPromptsRequest = {
  prompts: ForeignPrompt[];
};

export type ForeignPrompt = {
  id?: string | null;
  name?: string | null;
  version?: string | number | null;
  instructions?: string | null;
  messages?: ForeignMessage[] | null;
  variables?: Record<string, unknown> | string[] | null;
  model?: string | null;
  temperature?: number | null;
  top_p?: number | null;
  max_output_tokens?: number | null;
  tools?: unknown[] | null;
};

export type ForeignMessage = {
  role: Role;
  content: string | ForeignText[];
};

export type ForeignText = {
  type: string;
  text?: string;
};

export type RenamePromptRequest = {
  name: string;
};

export type PromptDeleted = {
  id: string;
  object?: "prompt.deleted";
  deleted?: true;
};

export type CreateVersionRequest = {
  content?: PromptContentBody | null;
  from_version?: number | null;
  note?: string;
};

export type PromptVersionBody = {
  prompt_id: string;
  version: number;
  content: PromptContentBody;
  created_at: number;
  user_id: string;
  note: string;
  uses: number;
  last_used_at: number | null;
  object?: "prompt.version";
};

export type PromptVersionList = {
  data: PromptVersionBody[];
  has_more: boolean;
  object?: "list";
};

export type PromptDiff = {
  lines: DiffLineBody[];
  object?: "prompt.diff";
};

export type DiffLineBody = {
  op: "added" | "removed" | "same";
  text: string;
};

export type SetLabelRequest = {
  version: number;
};

export type UploadForm = {
  file: string;
  purpose: "batch" | "user_data";
  expires_after?: KeptAfter;
};

export type KeptAfter = {
  anchor: "created_at";
  seconds: number;
};

export type FileBody = {
  id: string;
  bytes: number;
  created_at: number;
  filename: string;
  purpose: "batch" | "batch_output" | "user_data";
  object?: "file";
  status?: "processed";
  expires_at?: number;
};

export type FileList = {
  data: FileBody[];
  has_more: boolean;
  first_id: string;
  last_id: string;
  object?: "list";
};

export type FileDeleted = {
  id: string;
  object?: "file";
  deleted?: true;
};

export type CreateBatchRequest = {
  input_file_id: string;
  endpoint: string;
  completion_window: "24h";
  metadata?: Record<string, string> | null;
  output_expires_after?: KeptAfter | null;
};

export type BatchBody = {
  id: string;
  endpoint: string;
  input_file_id: string;
  completion_window: string;
  status: "cancelled" | "cancelling" | "completed" | "expired" | "failed" | "finalizing" | "in_progress" | "validating";
  created_at: number;
  expires_at: number;
  request_counts: RequestCounts;
  usage: ResponseUsage;
  metadata: Record<string, string>;
  model?: string;
  errors?: BatchFaults;
  output_file_id?: string;
  error_file_id?: string;
  in_progress_at?: number;
  finalizing_at?: number;
  completed_at?: number;
  failed_at?: number;
  expired_at?: number;
  cancelling_at?: number;
  cancelled_at?: number;
  object?: "batch";
};

export type RequestCounts = {
  total: number;
  completed: number;
  failed: number;
};

export type BatchFaults = {
  data: BatchFault[];
  object?: "list";
};

export type BatchFault = {
  code: string;
  message: string;
  param: string | null;
  line: number | null;
};

export type BatchList = {
  data: BatchBody[];
  has_more: boolean;
  first_id: string;
  last_id: string;
  object?: "list";
};

export type JobSpec = {
  name: string;
  type?: "batch-inference" | "evaluation" | "other" | "serving" | "training";
  command?: string[];
  python?: string | null;
  environment?: Record<string, string>;
  files?: Record<string, string>;
  roles?: RoleSpec[];
  topology?: TopologySpec | null;
  queue?: string;
  priority?: string;
  preemptible?: boolean;
  grows?: boolean;
  time_limit_seconds?: number | null;
  estimate_seconds?: number | null;
  retries?: RetrySpec;
  checkpoint?: CheckpointSpec;
  after?: string[];
  array?: number | null;
  not_before?: string | number | null;
  deadline?: string | number | null;
  labels?: Record<string, string>;
};

export type RoleSpec = {
  name?: string;
  replicas?: number;
  replicas_max?: number | null;
  gpus?: number;
  gpu_milli?: number;
  cpus?: number;
  memory_mib?: number;
  gpu_models?: string[];
  node_labels?: Record<string, string>;
};

export type TopologySpec = {
  level?: string;
  required?: boolean;
  spread?: boolean;
};

export type RetrySpec = {
  user_error?: number | null;
  out_of_memory?: number | null;
  node_lost?: number | null;
  preempted?: number | null;
  time_limit?: number | null;
  launch_failed?: number | null;
};

export type CheckpointSpec = {
  signal?: "HUP" | "INT" | "TERM" | "USR1" | "USR2";
  grace_seconds?: number;
  interval_seconds?: number | null;
  on_signal?: boolean;
  restart_seconds?: number;
};

export type JobList = {
  data: JobBody[];
  has_more: boolean;
  first_id: string;
  last_id: string;
  object?: "list";
};

export type JobBody = {
  id: string;
  name: string;
  type: string;
  queue: string;
  priority: number;
  priority_class: string;
  state: string;
  reason: string | null;
  detail: string | null;
  why: string | null;
  evidence: EvidenceBody | null;
  attempt: number;
  array_index: number | null;
  submitted_at: number;
  started_at: number | null;
  ended_at: number | null;
  gpus: number;
  seats: SeatBody[];
  held_seats: SeatBody[];
  exit_status: number | null;
  preemptions: number;
  failures: Record<string, number>;
  saved_seconds: number;
  saved_step: number | null;
  gpu_seconds: number;
  lost_gpu_seconds: number;
  labels: Record<string, string>;
  project: string;
  user: string;
  object?: "job";
  spec?: JobSpec | null;
};

export type EvidenceBody = {
  about?: string | null;
  role?: string | null;
  members_needed?: number | null;
  members_possible?: number | null;
  gpus_needed?: number | null;
  gpus_free?: number | null;
  until?: number | null;
  planned_start?: number | null;
  queue?: string | null;
  queue_gpus_used?: number | null;
  queue_gpus_left?: number | null;
};

export type SeatBody = {
  rank: number;
  role: string;
  node: string;
  gpus: number[];
};

export type ExplanationBody = {
  job: string;
  state: string;
  reason: string | null;
  sentence: string;
  evidence: EvidenceBody;
  ahead_count: number;
  ahead: string[];
  predicted_start: number | null;
  prediction: "played" | "reckoned" | null;
  resumes_at_step: number | null;
  what_if: string[];
  changes: ChangeBody[];
};

export type ChangeBody = {
  kind: "any_model" | "fewer_gpus" | "fewer_members" | "loose_topology";
  count: number;
  name: string;
};

export type TimelineBody = {
  job: string;
  events: JobEventBody[];
  attempts: AttemptBody[];
  cost: Cost | null;
};

export type JobEventBody = {
  number: number;
  at: number;
  kind: string;
  attempt: number;
  reason: string | null;
  detail: string | null;
  by: string | null;
  step: number | null;
};

export type AttemptBody = {
  number: number;
  launched_at: number;
  running_at: number | null;
  ended_at: number | null;
  outcome: string | null;
  exit_status: number | null;
  gpu_seconds: number;
  lost_gpu_seconds: number;
  resumed_step: number | null;
  saved_step: number | null;
  cost: Cost | null;
  seats: SeatBody[];
};

export type LogBody = {
  job: string;
  attempt: number;
  rank: number;
  text: string;
  offset: number;
  next_offset: number;
  ended: boolean;
};

export type ChangePriorityRequest = {
  priority: string;
};

export type JobFileCheck = {
  text: string;
  name?: string;
};

export type JobFileAnswer = {
  spec: JobSpec | null;
  mistake: JobFileMistake | null;
  object?: "job_file";
};

export type JobFileMistake = {
  message: string;
  reason: string;
  line: number | null;
  param: string | null;
};

export type JobSampleList = {
  data: JobSample[];
  object?: "list";
};

export type JobSample = {
  name: string;
  title: string;
  text: string;
};

export type QueueList = {
  data: QueueBody[];
  object?: "list";
};

export type QueueBody = {
  name: string;
  parent: string | null;
  weight: number;
  gpus_nominal: number | null;
  gpus_used: number;
  waiting: number;
  held: number;
  running: number;
  oldest_wait_seconds: number | null;
  waits: Record<string, WaitBody>;
};

export type WaitBody = {
  count: number;
  p50: number | null;
  p95: number | null;
  max: number | null;
};

export type ClusterBody = {
  nodes: NodeBody[];
  gpus: number;
  gpus_free: number;
  gpus_fragmented: number;
  gpus_held: number;
  jobs: Record<string, number>;
  failures: Record<string, number>;
  preemptions: number;
  lost_gpu_seconds: number;
  cycle_seconds: number;
  profile: string;
  leader: boolean;
};

export type NodeBody = {
  name: string;
  state: string;
  executor: string;
  gpu_model: string;
  gpus: number;
  gpus_free: number;
  cpus: number;
  cpus_free: number;
  memory_mib: number;
  memory_mib_free: number;
  labels: Record<string, string>;
  jobs: string[];
  devices: GpuBody[];
  reason: string | null;
  seen_at: number;
};

export type GpuBody = {
  index: number;
  free: number;
  jobs: string[];
  held_for: string | null;
};

export type ChangeNodeRequest = {
  state: "cordoned" | "draining" | "open";
};

export type HistoryBody = {
  data: HistoryPoint[];
  object?: "list";
};

export type HistoryPoint = {
  at: number;
  values: Record<string, number>;
};

export type UsagePage = {
  data: UsageBucketBody[];
  has_more?: boolean;
  next_page?: string | null;
  object?: "page";
};

export type UsageBucketBody = {
  start_time: number;
  end_time: number;
  results: UsageResult[];
  object?: "bucket";
};

export type UsageResult = {
  input_tokens: number;
  output_tokens: number;
  input_cached_tokens: number;
  input_uncached_tokens: number;
  output_reasoning_tokens: number;
  num_model_requests: number;
  cost_nanos: number;
  cache_saved_nanos: number;
  gpu_seconds: number;
  currency: string;
  organization_id?: string | null;
  project_id?: string | null;
  user_id?: string | null;
  api_key_id?: string | null;
  model?: string | null;
  service_tier?: string | null;
  upstream?: string | null;
  job_id?: string | null;
  object?: "organization.usage.completions.result";
};

export type CostPage = {
  data: CostBucket[];
  has_more?: boolean;
  next_page?: string | null;
  object?: "page";
};

export type CostBucket = {
  start_time: number;
  end_time: number;
  results: CostResult[];
  object?: "bucket";
};

export type CostResult = {
  amount: Amount;
  line_item?: string | null;
  project_id?: string | null;
  api_key_id?: string | null;
  object?: "organization.costs.result";
};

export type Amount = {
  value: number;
  currency: string;
  nanos: number;
};

export type MonthSummary = {
  currency: string;
  since: number;
  until: number;
  standings: Standing[];
  cache_saved_nanos: number;
  requests: number;
  input_tokens: number;
  input_cached_tokens: number;
  output_tokens: number;
};

export type Standing = {
  scope: string;
  subject: string;
  spent_nanos: number;
  reserved_nanos: number;
  forecast_nanos: number;
  soft_nanos: number | null;
  hard_nanos: number | null;
};

export type EstimateRequest = {
  model: string;
  input_tokens: number;
  cached_tokens?: number;
  output_tokens_max?: number;
  service_tier?: "batch" | "default" | "flex" | "priority";
};

export type Estimate = {
  currency: string;
  least_nanos: number;
  most_nanos: number;
  cache_saved_nanos: number;
};

export type BudgetList = {
  data: BudgetBody[];
  object?: "list";
};

export type BudgetBody = {
  id: string;
  scope: string;
  subject: string;
  soft_nanos: number | null;
  hard_nanos: number | null;
  webhook: string;
  object?: "budget";
};

export type BudgetRequest = {
  scope: "key" | "organisation" | "project" | "user";
  subject: string;
  soft_nanos?: number | null;
  hard_nanos?: number | null;
  webhook?: string;
};

export type BudgetDeleted = {
  id: string;
  deleted?: boolean;
};

export type LimitList = {
  data: LimitBody[];
  object?: "list";
};

export type LimitBody = {
  id: string;
  name: string;
  level: string;
  subject: string;
  measure: string;
  window: string;
  amount: number;
  burst: number;
  store_away: "closed" | "open";
  object?: "limit";
};

export type LimitRequest = {
  level: "key" | "model" | "organisation" | "project" | "system" | "user";
  measure: "input_tokens" | "output_tokens" | "requests" | "spend" | "streams";
  window: "day" | "minute" | "now";
  amount: number;
  subject?: string;
  burst?: number;
  store_away?: "closed" | "open";
};

export type LimitDeleted = {
  id: string;
  deleted?: boolean;
};

export type ModerationRequest = {
  input: string | (string | ModeratedText)[];
  model?: string | null;
};

export type ModeratedText = {
  type: "text";
  text: string;
};

export type ModerationBody = {
  id: string;
  model: string;
  results: ModerationResult[];
};

export type ModerationResult = {
  flagged: boolean;
  categories: Record<string, unknown>;
  category_scores: Record<string, unknown>;
};

export type UpstreamList = {
  data: UpstreamBody[];
  object?: "list";
};

export type UpstreamBody = {
  name: string;
  origin: "api" | "engine" | "settings";
  health: "disabled" | "down" | "loading" | "ready";
  breaker: "closed" | "open" | "trying";
  models: string[];
  in_flight: number;
  weight: number;
  priority: number;
  load?: LoadBody | null;
  url?: string | null;
  kind?: string | null;
  has_key?: boolean;
  tags?: string[];
  object?: "upstream";
};

export type LoadBody = {
  running: number;
  waiting: number;
  kv_share: number;
  first_token_seconds: number;
  prefix_hit_share: number;
};

export type UpstreamRequest = {
  name: string;
  url: string;
  kind?: "anthropic" | "llamacpp" | "openai" | "openai-platform" | "own" | "vllm";
  models?: string[];
  api_key?: string | null;
  weight?: number;
  priority?: number;
  disabled?: boolean;
  tags?: string[];
};

export type Removed = {
  name: string;
  deleted?: boolean;
};

export type RouteList = {
  data: RouteBody[];
  object?: "list";
};

export type RouteBody = {
  name: string;
  targets?: TargetBody[];
  fallbacks?: string[];
  hedge_milliseconds?: number;
  tags?: string[];
};

export type TargetBody = {
  model: string;
  weight?: number;
};

export type StatusBody = {
  status: "live" | "not_ready" | "ready" | "stopping";
};

export type ErrorResponse = {
  error: ErrorBody;
};

export type ErrorBody = {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
};

/** Every operation: what it takes, and what it answers with when it succeeds. */
export interface Routes {
  "GET /sign-in": { query: { token?: string; }; answer: unknown };
  "GET /api/sign-in": { answer: SignInWays };
  "POST /api/sign-in": { body: PasswordSignIn; answer: SignedIn };
  "POST /api/invitations/look-up": { body: InvitationLookup; answer: InvitationBody };
  "POST /api/invitations/accept": { body: AcceptInvitation; answer: SignedIn };
  "GET /api/sign-in/openid/{provider}": { path: { provider: string; }; answer: unknown };
  "GET /api/sign-in/openid/{provider}/callback": { path: { provider: string; }; answer: unknown };
  "GET /api/session": { answer: SessionBody };
  "GET /api/session/projects": { answer: OwnProjects };
  "POST /api/session/project": { body: ChooseProject; answer: ProjectBody };
  "GET /api/sessions": { answer: BrowserSessions };
  "DELETE /api/sessions/{session_id}": { path: { session_id: string; }; answer: Deleted };
  "POST /api/session/profile": { body: ChangeProfile; answer: ProfileBody };
  "POST /api/session/password": { body: ChangePassword; answer: PasswordChanged };
  "POST /api/sign-out": { answer: SignedOut };
  "GET /api/prices": { answer: PriceList };
  "GET /api/organisation": { answer: OrganisationBody };
  "POST /api/organisation": { body: NameRequest; answer: OrganisationBody };
  "GET /api/organisations": { query: { limit?: number; after?: string; }; answer: OrganisationList };
  "POST /api/organisations": { body: NameRequest; answer: OrganisationBody };
  "POST /api/organisations/{organisation_id}/invites": { path: { organisation_id: string; }; body: InviteRequest; answer: InviteBody };
  "GET /api/organisation/users": { query: { limit?: number; after?: string; }; answer: UserList };
  "GET /api/organisation/users/{user_id}": { path: { user_id: string; }; answer: UserBody };
  "POST /api/organisation/users/{user_id}": { path: { user_id: string; }; body: ChangeUserRequest; answer: UserBody };
  "DELETE /api/organisation/users/{user_id}": { path: { user_id: string; }; answer: Deleted };
  "POST /api/organisation/users/{user_id}/sign_in_link": { path: { user_id: string; }; answer: SignInLink };
  "GET /api/organisation/invites": { query: { limit?: number; after?: string; }; answer: InviteList };
  "POST /api/organisation/invites": { body: InviteRequest; answer: InviteBody };
  "DELETE /api/organisation/invites/{invite_id}": { path: { invite_id: string; }; answer: Deleted };
  "GET /api/organisation/projects": { query: { limit?: number; after?: string; include_archived?: boolean; }; answer: ProjectList };
  "POST /api/organisation/projects": { body: NameRequest; answer: ProjectBody };
  "GET /api/organisation/projects/{project_id}": { path: { project_id: string; }; answer: ProjectBody };
  "POST /api/organisation/projects/{project_id}": { path: { project_id: string; }; body: NameRequest; answer: ProjectBody };
  "POST /api/organisation/projects/{project_id}/archive": { path: { project_id: string; }; answer: ProjectBody };
  "GET /api/organisation/projects/{project_id}/users": { path: { project_id: string; }; query: { limit?: number; after?: string; }; answer: ProjectUserList };
  "POST /api/organisation/projects/{project_id}/users": { path: { project_id: string; }; body: AddProjectUserRequest; answer: ProjectUserBody };
  "GET /api/organisation/projects/{project_id}/users/{user_id}": { path: { project_id: string; user_id: string; }; answer: ProjectUserBody };
  "POST /api/organisation/projects/{project_id}/users/{user_id}": { path: { project_id: string; user_id: string; }; body: RoleRequest; answer: ProjectUserBody };
  "DELETE /api/organisation/projects/{project_id}/users/{user_id}": { path: { project_id: string; user_id: string; }; answer: Deleted };
  "GET /api/organisation/projects/{project_id}/service_accounts": { path: { project_id: string; }; query: { limit?: number; after?: string; }; answer: ServiceAccountList };
  "POST /api/organisation/projects/{project_id}/service_accounts": { path: { project_id: string; }; body: ServiceAccountRequest; answer: ServiceAccountBody };
  "GET /api/organisation/projects/{project_id}/service_accounts/{user_id}": { path: { project_id: string; user_id: string; }; answer: ServiceAccountBody };
  "DELETE /api/organisation/projects/{project_id}/service_accounts/{user_id}": { path: { project_id: string; user_id: string; }; answer: Deleted };
  "GET /api/organisation/projects/{project_id}/api_keys": { path: { project_id: string; }; answer: KeyList };
  "POST /api/organisation/projects/{project_id}/api_keys": { path: { project_id: string; }; body: KeyRequest; answer: KeyBody };
  "GET /api/organisation/projects/{project_id}/api_keys/{key_id}": { path: { project_id: string; key_id: string; }; answer: KeyBody };
  "POST /api/organisation/projects/{project_id}/api_keys/{key_id}": { path: { project_id: string; key_id: string; }; body: ChangeKeyRequest; answer: KeyBody };
  "DELETE /api/organisation/projects/{project_id}/api_keys/{key_id}": { path: { project_id: string; key_id: string; }; answer: Deleted };
  "POST /api/organisation/projects/{project_id}/api_keys/{key_id}/rotate": { path: { project_id: string; key_id: string; }; body: RotateKeyRequest; answer: KeyBody };
  "GET /api/organisation/audit_logs": { query: { limit?: number; before?: number; type?: string; actor?: string; project?: string; object_id?: string; since?: number; until?: number; }; answer: AuditList };
  "GET /api/organisation/audit_logs/export": { query: { format?: "jsonl" | "csv"; type?: string; actor?: string; project?: string; object_id?: string; since?: number; until?: number; }; answer: unknown };
  "POST /v1/chat/completions": { body: ChatCompletionRequest; answer: ChatCompletion };
  "POST /v1/completions": { body: CompletionRequest; answer: Completion };
  "POST /v1/embeddings": { body: EmbeddingRequest; answer: EmbeddingList };
  "POST /api/requests/{request_id}/stop": { path: { request_id: string; }; answer: RequestStopped };
  "GET /v1/models": { answer: ModelList };
  "GET /v1/models/{model}": { path: { model: string; }; answer: Model };
  "POST /v1/responses": { body: CreateResponseRequest; answer: ResponseBody };
  "GET /v1/responses": { answer: unknown };
  "GET /v1/responses/{response_id}": { path: { response_id: string; }; query: { stream?: boolean; starting_after?: number; snapshot?: boolean; }; answer: ResponseBody };
  "DELETE /v1/responses/{response_id}": { path: { response_id: string; }; answer: ResponseDeleted };
  "POST /v1/responses/{response_id}/cancel": { path: { response_id: string; }; answer: ResponseBody };
  "GET /v1/responses/{response_id}/input_items": { path: { response_id: string; }; query: { limit?: number; after?: string; order?: "asc" | "desc"; }; answer: ItemList };
  "POST /v1/conversations": { body: CreateConversationRequest; answer: ConversationBody };
  "GET /api/conversations": { query: { limit?: number; after?: string; folder?: string; pinned?: boolean; archived?: boolean; }; answer: ConversationList };
  "GET /v1/conversations/{conversation_id}": { path: { conversation_id: string; }; answer: ConversationBody };
  "POST /v1/conversations/{conversation_id}": { path: { conversation_id: string; }; body: UpdateConversationRequest; answer: ConversationBody };
  "DELETE /v1/conversations/{conversation_id}": { path: { conversation_id: string; }; answer: ConversationDeleted };
  "GET /v1/conversations/{conversation_id}/items": { path: { conversation_id: string; }; query: { limit?: number; after?: string; order?: "asc" | "desc"; }; answer: ItemList };
  "POST /v1/conversations/{conversation_id}/items": { path: { conversation_id: string; }; body: AddItemsRequest; answer: ItemList };
  "GET /v1/conversations/{conversation_id}/items/{item_id}": { path: { conversation_id: string; item_id: string; }; answer: MessageBody | FunctionCallBody | FunctionOutputBody | ReasoningBody };
  "DELETE /v1/conversations/{conversation_id}/items/{item_id}": { path: { conversation_id: string; item_id: string; }; answer: ConversationBody };
  "GET /api/conversations/{conversation_id}/tree": { path: { conversation_id: string; }; answer: ConversationTree };
  "POST /api/conversations/{conversation_id}/leaf": { path: { conversation_id: string; }; body: SwitchRequest; answer: ConversationBody };
  "POST /api/conversations/{conversation_id}/compact": { path: { conversation_id: string; }; body: CompactRequest; answer: MessageBody };
  "POST /api/context": { body: CreateResponseRequest; answer: ContextBody };
  "POST /tokenize": { body: TokenizeBody; answer: Tokenized };
  "POST /detokenize": { body: DetokenizeBody; answer: Detokenized };
  "POST /v1/responses/input_tokens": { body: CreateResponseRequest; answer: TokenCount };
  "POST /v1/chat/completions/input_tokens": { body: ChatCompletionRequest; answer: TokenCount };
  "GET /api/search": { query: { q?: string; limit?: number; }; answer: SearchResults };
  "POST /api/conversations/{conversation_id}/shares": { path: { conversation_id: string; }; answer: ShareBody };
  "GET /api/conversations/{conversation_id}/shares": { path: { conversation_id: string; }; answer: ShareList };
  "DELETE /api/shares/{share_id}": { path: { share_id: string; }; answer: ShareDeleted };
  "GET /api/shared/{secret}": { path: { secret: string; }; answer: SharedConversation };
  "GET /api/export": { query: { format?: "openai" | "openwebui"; conversation_id?: string; }; answer: Record<string, unknown>[] };
  "POST /api/import": { body: Record<string, unknown>[]; answer: ImportResult };
  "POST /api/prompts": { body: CreatePromptRequest; answer: StoredPromptBody };
  "GET /api/prompts": { query: { limit?: number; after?: string; }; answer: PromptList };
  "POST /api/prompts/import": { body: ImportPromptsRequest; answer: PromptList };
  "GET /api/prompts/{prompt_id}": { path: { prompt_id: string; }; answer: StoredPromptBody };
  "POST /api/prompts/{prompt_id}": { path: { prompt_id: string; }; body: RenamePromptRequest; answer: StoredPromptBody };
  "DELETE /api/prompts/{prompt_id}": { path: { prompt_id: string; }; answer: PromptDeleted };
  "POST /api/prompts/{prompt_id}/versions": { path: { prompt_id: string; }; body: CreateVersionRequest; answer: PromptVersionBody };
  "GET /api/prompts/{prompt_id}/versions": { path: { prompt_id: string; }; query: { limit?: number; before?: number; }; answer: PromptVersionList };
  "GET /api/prompts/{prompt_id}/versions/{version}": { path: { prompt_id: string; version: string; }; answer: PromptVersionBody };
  "GET /api/prompts/{prompt_id}/diff": { path: { prompt_id: string; }; query: { from?: string; to?: string; }; answer: PromptDiff };
  "PUT /api/prompts/{prompt_id}/labels/{label}": { path: { prompt_id: string; label: string; }; body: SetLabelRequest; answer: StoredPromptBody };
  "DELETE /api/prompts/{prompt_id}/labels/{label}": { path: { prompt_id: string; label: string; }; answer: StoredPromptBody };
  "POST /v1/files": { answer: FileBody };
  "GET /v1/files": { query: { limit?: number; after?: string; order?: "asc" | "desc"; purpose?: "batch" | "batch_output" | "user_data"; }; answer: FileList };
  "GET /v1/files/{file_id}": { path: { file_id: string; }; answer: FileBody };
  "DELETE /v1/files/{file_id}": { path: { file_id: string; }; answer: FileDeleted };
  "GET /v1/files/{file_id}/content": { path: { file_id: string; }; answer: unknown };
  "POST /v1/batches": { body: CreateBatchRequest; answer: BatchBody };
  "GET /v1/batches": { query: { limit?: number; after?: string; }; answer: BatchList };
  "GET /v1/batches/{batch_id}": { path: { batch_id: string; }; answer: BatchBody };
  "POST /v1/batches/{batch_id}/cancel": { path: { batch_id: string; }; answer: BatchBody };
  "POST /api/jobs": { body: JobSpec; answer: JobList };
  "GET /api/jobs": { query: { limit?: number; after?: string; state?: string; queue?: string; type?: string; name?: string; search?: string; }; answer: JobList };
  "GET /api/jobs/{job_id}": { path: { job_id: string; }; answer: JobBody };
  "GET /api/jobs/{job_id}/explain": { path: { job_id: string; }; answer: ExplanationBody };
  "GET /api/jobs/{job_id}/timeline": { path: { job_id: string; }; answer: TimelineBody };
  "GET /api/jobs/{job_id}/logs": { path: { job_id: string; }; query: { attempt?: number; rank?: number; offset?: number; tail?: number; follow?: boolean; }; answer: LogBody };
  "POST /api/jobs/{job_id}/cancel": { path: { job_id: string; }; answer: JobBody };
  "POST /api/jobs/{job_id}/retry": { path: { job_id: string; }; answer: JobBody };
  "POST /api/jobs/{job_id}/priority": { path: { job_id: string; }; body: ChangePriorityRequest; answer: JobBody };
  "POST /api/job-files/check": { body: JobFileCheck; answer: JobFileAnswer };
  "GET /api/job-files/samples": { answer: JobSampleList };
  "GET /api/queues": { answer: QueueList };
  "GET /api/cluster": { answer: ClusterBody };
  "POST /api/cluster/nodes/{node}": { path: { node: string; }; body: ChangeNodeRequest; answer: NodeBody };
  "GET /api/cluster/history": { query: { since?: number; until?: number; limit?: number; names?: string; }; answer: HistoryBody };
  "GET /v1/organization/usage/completions": { query: { start_time?: number; end_time?: number; bucket_width?: "1m" | "1h" | "1d"; limit?: number; page?: string; group_by?: string; project_ids?: string; user_ids?: string; api_key_ids?: string; models?: string; service_tiers?: string; job_ids?: string; }; answer: UsagePage };
  "GET /v1/organization/costs": { query: { start_time?: number; end_time?: number; bucket_width?: "1m" | "1h" | "1d"; limit?: number; page?: string; group_by?: string; project_ids?: string; user_ids?: string; api_key_ids?: string; models?: string; service_tiers?: string; job_ids?: string; }; answer: CostPage };
  "GET /api/usage.csv": { query: { start_time?: number; end_time?: number; bucket_width?: "1m" | "1h" | "1d"; limit?: number; page?: string; group_by?: string; project_ids?: string; user_ids?: string; api_key_ids?: string; models?: string; service_tiers?: string; job_ids?: string; }; answer: unknown };
  "GET /api/usage/month": { answer: MonthSummary };
  "POST /api/usage/estimate": { body: EstimateRequest; answer: Estimate };
  "GET /api/organisation/budgets": { answer: BudgetList };
  "POST /api/organisation/budgets": { body: BudgetRequest; answer: BudgetBody };
  "DELETE /api/organisation/budgets/{budget_id}": { path: { budget_id: string; }; answer: BudgetDeleted };
  "GET /api/organisation/limits": { answer: LimitList };
  "POST /api/organisation/limits": { body: LimitRequest; answer: LimitBody };
  "DELETE /api/organisation/limits/{limit_id}": { path: { limit_id: string; }; answer: LimitDeleted };
  "POST /v1/moderations": { body: ModerationRequest; answer: ModerationBody };
  "GET /api/upstreams": { answer: UpstreamList };
  "POST /api/upstreams": { body: UpstreamRequest; answer: UpstreamBody };
  "DELETE /api/upstreams/{name}": { path: { name: string; }; answer: Removed };
  "GET /api/model-routes": { answer: RouteList };
  "POST /api/model-routes": { body: RouteBody; answer: RouteBody };
  "DELETE /api/model-routes/{name}": { path: { name: string; }; answer: Removed };
  "GET /health/live": { answer: StatusBody };
  "GET /health/ready": { answer: StatusBody };
  "GET /metrics": { answer: unknown };
  "GET /openapi.json": { answer: Record<string, unknown> };
  "GET /docs": { answer: unknown };
}
