// What every language does for the conformance suite, in JavaScript.

import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const s3 = new S3Client();
let calls = 0;

export const handler = async (event, context) => {
  calls += 1;
  if (event.Records) return Promise.all(event.Records.map((record) => copy(record.s3)));
  switch (event.do) {
    case "echo":
      return event;
    case "fail":
      throw new RangeError("no bread here");
    case "sleep":
      return new Promise((resolve) => setTimeout(resolve, event.seconds * 1000));
    case "exit":
      process.exit(3);
    case "environment":
      return process.env;
    case "print":
      console.log("printed");
      console.error("complained");
      return null;
    case "count":
      return calls;
    case "large":
      return "x".repeat(event.size);
    case "context":
      return {
        id: context.awsRequestId,
        arn: context.invokedFunctionArn,
        function: context.functionName,
        left: context.getRemainingTimeInMillis(),
      };
  }
};

// Chunks of a JSON array, as they are made; broken off where the event says so.
export const stream = awslambda.streamifyResponse(async (event, response) => {
  response.setContentType("application/json");
  response.write("[0");
  for (let number = 1; number < event.size; number += 1) response.write(`,${number}`);
  if (event.breaks) throw new RangeError("no more bread");
  response.end("]");
});

// Copies `in/<name>` to `out/<name>`.
async function copy({ bucket, object }) {
  const key = decodeURIComponent(object.key.replaceAll("+", " "));
  const found = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: key }));
  const body = await found.Body.transformToByteArray();
  const target = { Bucket: bucket.name, Key: key.replace("in/", "out/"), Body: body };
  await s3.send(new PutObjectCommand(target));
  return key;
}
