// One column of a table: counts, extremes and a few examples, gathered value by value.

const MOST_EXAMPLES = 5;
const LONGEST_EXAMPLE = 100;

export class Column {
  #name;
  #filled = 0;
  #numbers = 0;
  #mean = 0;
  #least = Infinity;
  #most = -Infinity;
  #examples = new Set();

  constructor(name) {
    this.#name = name.trim();
  }

  add(text) {
    const value = text.trim();
    if (value === "") return;
    this.#filled += 1;
    if (this.#examples.size < MOST_EXAMPLES) this.#examples.add(value.slice(0, LONGEST_EXAMPLE));
    const number = Number(value);
    if (Number.isFinite(number)) this.#addNumber(number);
  }

  // A running mean: a sum of many values would lose its last digits, or overflow.
  #addNumber(number) {
    this.#numbers += 1;
    this.#mean += (number - this.#mean) / this.#numbers;
    this.#least = Math.min(this.#least, number);
    this.#most = Math.max(this.#most, number);
  }

  // A column is one of numbers when every value in it is one.
  summary() {
    const found = { name: this.#name, filled: this.#filled, examples: [...this.#examples] };
    if (this.#filled === 0 || this.#numbers < this.#filled) return found;
    return { ...found, least: this.#least, most: this.#most, mean: this.#mean };
  }
}
