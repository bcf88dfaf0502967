// The client for Node.js up to 22: takes invocations from the Lambda Runtime API, calls the handler.
//
// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html. Errors and log lines are worded as
// by AWS's own client, `aws-lambda-ric`, which needs a native build and has left callbacks behind.
// Node's own modules only: a package may bring its own copy of anything else.

import { existsSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { format } from "node:util";

const BASE = "/2018-06-01/runtime";
const ERROR_TYPE = "Lambda-Runtime-Function-Error-Type";
const ERROR_BODY = "Lambda-Runtime-Function-Error-Body";
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");

// The invocation in hand, or the last one: its log lines and uncaught errors are told under its id.
let requestId;
// Called when nothing is left to wait for: what ends an invocation whose handler just returns.
let onEmptyLoop = () => {};
let isEnding = false;

// -- errors ---------------------------------------------------------------------------------------

function runtimeError(type, message, stack) {
  const error = new Error(message);
  error.name = `Runtime.${type}`;
  if (stack !== undefined) error.stack = stack;
  return error;
}

function described(error) {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  const trace = String(error.stack ?? "").split("\n");
  return { errorType: String(error.name), errorMessage: String(error.message), trace };
}

function logError(what, thrown) {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { errorType, errorMessage, trace } = described(error);
  let text;
  try {
    text = JSON.stringify({ errorType, errorMessage, ...error, stack: trace });
  } catch {
    text = JSON.stringify({ errorType, errorMessage, stack: trace }); // its own fields form a circle
  }
  console.error(what, `\t${text}`);
}

// -- the log: time, request id, level, message, tab separated; one event is one line ----------------

const LEVELS = {
  trace: "TRACE", debug: "DEBUG", log: "INFO", info: "INFO", warn: "WARN", error: "ERROR",
  fatal: "FATAL",
};

function patchConsole() {
  for (const [method, level] of Object.entries(LEVELS)) {
    console[method] = (...parts) => {
      const line = `${new Date().toISOString()}\t${requestId}\t${level}\t${format(...parts)}`;
      process.stdout.write(`${line.replaceAll("\n", "\r")}\n`);
    };
  }
}

// -- the Runtime API --------------------------------------------------------------------------------

const agent = new http.Agent({ keepAlive: true });

// Begins a request; `answered` gives status, headers and body.
function begin(method, place, headers = {}) {
  const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
  const request = http.request({ hostname, port, method, path: BASE + place, headers, agent });
  const answered = new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks = [];
      response.on("error", reject);
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
    });
  });
  return { request, answered };
}

function next() {
  const { request, answered } = begin("GET", "/invocation/next");
  request.end();
  return answered;
}

function post(place, body, headers = {}) {
  const content = Buffer.from(body);
  const { request, answered } = begin("POST", place, {
    "Content-Type": "application/json", "Content-Length": content.length, ...headers,
  });
  request.end(content);
  return answered;
}

// A header takes no other characters.
function inHeader(text) {
  return text.replace(/[^\x20-\x7e]/g, "?");
}

function postError(error, id) {
  const told = described(error);
  const place = id === undefined ? "/init/error" : `/invocation/${id}/error`;
  return post(place, JSON.stringify(told), { [ERROR_TYPE]: inHeader(told.errorType) });
}

// -- the handler ------------------------------------------------------------------------------------

async function load(taskRoot, name) {
  if (name.includes("..")) {
    const advice = "Use absolute paths when specifying root directories in handler names.";
    throw runtimeError("MalformedHandlerName", `'${name}' is not a valid handler name. ${advice}`);
  }
  const parts = path.basename(name).match(/^([^.]*)\.(.*)$/);
  if (parts === null) throw runtimeError("MalformedHandlerName", "Bad handler");
  const module = await loadModule(taskRoot, path.resolve(taskRoot, path.dirname(name)), parts[1]);
  const handler = exported(module, parts[2]) ?? exported(module?.default, parts[2]);
  if (handler === undefined) {
    throw runtimeError("HandlerNotFound", `${name} is undefined or not exported`);
  }
  if (typeof handler !== "function") {
    throw runtimeError("HandlerNotFound", `${name} is not a function`);
  }
  return handler;
}

async function loadModule(taskRoot, folder, name) {
  const require = createRequire(import.meta.url);
  const file = [".js", ".mjs", ".cjs"].map((end) => path.join(folder, name + end)).find(existsSync);
  try {
    if (file !== undefined) return await import(pathToFileURL(file));
    return require(require.resolve(name, { paths: [taskRoot, folder] }));
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw runtimeError("UserCodeSyntaxError", String(error), error.stack);
    }
    if (error?.code === "MODULE_NOT_FOUND") throw runtimeError("ImportModuleError", String(error));
    throw error;
  }
}

// A module's export by its name, which may go into objects: `handlers.crop`.
function exported(module, name) {
  return name.split(".").reduce((found, key) => found?.[key], module);
}

function contextOf(headers) {
  const json = (name) => headers[name] && JSON.parse(headers[name]);
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: json("lambda-runtime-client-context"),
    identity: json("lambda-runtime-cognito-identity"),
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

// -- an invocation ----------------------------------------------------------------------------------

// What a handler answers: by its promise, its callback or its context, whichever comes first.
function call(handler, event, context) {
  return new Promise((resolve, reject) => {
    let isCalled = false;
    const done = (error, result) => (error == null ? resolve(result) : reject(error));
    const callback = (error, result) => {
      if (isCalled) return;
      isCalled = true;
      if (error == null && context.callbackWaitsForEmptyEventLoop) {
        onEmptyLoop = () => resolve(result);
      } else {
        done(error, result);
      }
    };
    const fail = (error) => reject(error ?? "handled");
    Object.assign(context, { done, fail, succeed: resolve });
    onEmptyLoop = () => resolve(null);
    const result = handler(event, context, callback);
    if (typeof result?.then === "function") result.then(resolve, reject);
  });
}

async function respond(handler, event, context) {
  const result = await call(handler, event, context);
  let body;
  try {
    body = JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    throw new Error("Unable to stringify response body");
  }
  await post(`/invocation/${requestId}/response`, body);
}

// A streaming handler writes into the request itself; a failure is told behind what was written.
async function stream(handler, event, context) {
  const { request, answered } = begin("POST", `/invocation/${requestId}/response`, {
    "Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked",
    "Lambda-Runtime-Function-Response-Mode": "streaming", Trailer: `${ERROR_TYPE}, ${ERROR_BODY}`,
  });
  const write = request.write.bind(request);
  request.setContentType = (type) => request.setHeader("Content-Type", type);
  request.write = (chunk, ...rest) => {
    const isPlain = typeof chunk === "string" || chunk instanceof Uint8Array;
    return write(isPlain ? chunk : JSON.stringify(chunk), ...rest);
  };
  try {
    const result = handler(event, request, context);
    if (typeof result?.then !== "function") {
      throw new Error("Streaming does not support non-async handlers.");
    }
    await result;
  } catch (error) {
    logError("Invoke Error", error);
    const told = described(error);
    const body = Buffer.from(JSON.stringify(told)).toString("base64");
    request.addTrailers({ [ERROR_TYPE]: inHeader(told.errorType), [ERROR_BODY]: body });
    request.end();
  }
  await answered;
}

async function invoke(handler, { headers, body }) {
  requestId = headers["lambda-runtime-aws-request-id"];
  const trace = headers["lambda-runtime-trace-id"];
  if (trace === undefined) delete process.env._X_AMZN_TRACE_ID;
  else process.env._X_AMZN_TRACE_ID = trace;
  try {
    const context = contextOf(headers);
    const answer = handler[STREAMING] === "response" ? stream : respond;
    await answer(handler, JSON.parse(body), context);
  } catch (error) {
    logError("Invoke Error", error);
    await postError(error, requestId);
  }
  onEmptyLoop = () => {};
}

// -- the process ------------------------------------------------------------------------------------

// Nothing can be known of a process with an uncaught error: it ends, and the next begins anew.
function endBy(what, status, error) {
  isEnding = true;
  logError(what, error);
  const exit = () => process.exit(status);
  postError(error, requestId).then(exit, exit);
}

patchConsole();
globalThis.awslambda = {
  streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: "response" }),
  HttpResponseStream: {
    // Status, headers and cookies of an HTTP response, then eight zero bytes, then its body.
    from(request, prelude) {
      request.setContentType("application/vnd.awslambda.http-integration-response");
      request.write(JSON.stringify(prelude));
      request.write(new Uint8Array(8));
      return request;
    },
  },
};
process.on("beforeExit", () => onEmptyLoop());
process.on("uncaughtException", (error) => endBy("Uncaught Exception", 129, error));
process.on("unhandledRejection", (reason) => {
  const error = Object.assign(runtimeError("UnhandledPromiseRejection", String(reason)), { reason });
  endBy("Unhandled Promise Rejection", 128, error);
});

const handler = await load(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
await new Promise(setImmediate); // by then it is known what nobody has caught
while (!isEnding) await invoke(handler, await next());
