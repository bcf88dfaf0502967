import "absent-module"; // there is none
