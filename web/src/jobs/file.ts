// A job file from the form's fields. Pure. What the form does not have is written into the file.

export interface Fields {
  name: string;
  command: string;
  members: string;
  gpus: string;
  cpus: string;
  memory: string;
  priority: string;
  queue: string;
  minutes: string;
}

export const BLANK: Fields = {
  name: "hello",
  command: 'echo "Hello from rank $RANK of $WORLD_SIZE"; sleep 10',
  members: "1",
  gpus: "0",
  cpus: "1",
  memory: "512",
  priority: "normal",
  queue: "",
  minutes: "10",
};

/** A text as a YAML scalar that says exactly that text. */
const scalar = (text: string): string => JSON.stringify(text);
const whole = (typed: string, otherwise: number): number => {
  const value = Number(typed);
  return Number.isFinite(value) && typed.trim() !== "" ? value : otherwise;
};

/** A job file may be YAML, JSON, which has YAML's form, or TOML, which the editor does not know. */
export const languageOf = (text: string): "yaml" | "plain" =>
  /^[\w."-]+\s*=/m.test(text) ? "plain" : "yaml";

export function writeFile(fields: Fields): string {
  const lines = [
    `name: ${scalar(fields.name)}`,
    `command: [sh, -c, ${scalar(fields.command)}]`,
    "roles:",
    `  - replicas: ${whole(fields.members, 1)}`,
    `    gpus: ${whole(fields.gpus, 0)}`,
    `    cpus: ${whole(fields.cpus, 1)}`,
    `    memory_mib: ${whole(fields.memory, 512)}`,
    `priority: ${fields.priority}`,
  ];
  if (fields.queue !== "") lines.push(`queue: ${scalar(fields.queue)}`);
  const minutes = whole(fields.minutes, 0);
  if (minutes > 0) lines.push(`time_limit_seconds: ${minutes * 60}`);
  return `${lines.join("\n")}\n`;
}
