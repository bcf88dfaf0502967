// Summarises each CSV file that lands under `in/` of the bucket `tables`, into `summaries/`.
//
// A file is read as a stream, and of its values only what the summary needs is kept: memory stays
// the same whatever its size.

import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { parse } from "csv-parse";

import { Column } from "./column.js";

const MOST_COLUMNS = 1_000;
const MOST_BYTES_IN_A_ROW = 1_000_000;

const s3 = new S3Client();

export const handler = async (event) => {
  for (const record of event.Records) {
    const { bucket, object } = record.s3;
    await summarise(bucket.name, decodeURIComponent(object.key.replaceAll("+", " ")));
  }
};

async function summarise(bucket, key) {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  let summary;
  try {
    summary = await summaryOf(Body);
  } catch (error) {
    throw new Error(`${bucket}/${key} cannot be summarised: ${error.message}`, { cause: error });
  }
  const target = key.replace(/^in\//, "summaries/").replace(/\.csv$/, ".json");
  await s3.send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: target,
      Body: JSON.stringify(summary, null, 2),
      ContentType: "application/json",
    }),
  );
  console.log(`${key}: ${summary.rows} rows, into ${target}`);
}

// Rows and, for each column named in the first line, what is in it.
async function summaryOf(stream) {
  const rows = parse({ bom: true, max_record_size: MOST_BYTES_IN_A_ROW, skip_empty_lines: true });
  stream.on("error", (error) => rows.destroy(error));
  stream.pipe(rows);
  let columns;
  let count = 0;
  for await (const row of rows) {
    if (columns === undefined) {
      columns = headed(row);
      continue;
    }
    count += 1;
    row.forEach((text, place) => columns[place].add(text));
  }
  if (columns === undefined) throw new Error("it is empty");
  return { rows: count, columns: columns.map((column) => column.summary()) };
}

function headed(names) {
  if (names.length > MOST_COLUMNS) {
    throw new Error(`it has ${names.length} columns, and ${MOST_COLUMNS} are allowed`);
  }
  return names.map((name) => new Column(name));
}
