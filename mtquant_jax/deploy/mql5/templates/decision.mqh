// The policies: decision.onnx, compiled into the Expert Advisor. What they remember is in what they are given.

long Decision = INVALID_HANDLE;
float InputTensor[NUM_INPUTS];
float OutputTensor[NUM_ACTIONS];

// Opens the model and fixes the shapes of its input and its output.
bool OpenDecision() {
   Decision = OnnxCreateFromBuffer(DecisionModel, ONNX_USE_CPU_ONLY);
   if(Decision == INVALID_HANDLE) {
      PrintFormat("decision.onnx cannot be opened: error %d", GetLastError());
      return false;
   }
   const long input_shape[] = {1, NUM_INPUTS};
   const long output_shape[] = {1, NUM_ACTIONS};
   if(OnnxGetInputCount(Decision) != 1 || OnnxGetOutputCount(Decision) != 1 ||
      !OnnxSetInputShape(Decision, 0, input_shape) || !OnnxSetOutputShape(Decision, 0, output_shape)) {
      PrintFormat("decision.onnx has not the shapes [1, %d] and [1, %d]: error %d", NUM_INPUTS, NUM_ACTIONS,
                  GetLastError());
      return false;
   }
   return true;
}

void CloseDecision() {
   if(Decision != INVALID_HANDLE)
      OnnxRelease(Decision);
   Decision = INVALID_HANDLE;
}

// What the policies do; false where the runtime fails or gives something that is not a number.
bool Decide(const DecisionInputs &inputs, ActionValues &action) {
   for(int i = 0; i < NUM_INPUTS; i++)
      InputTensor[i] = inputs.values[i];
   if(!OnnxRun(Decision, ONNX_NO_CONVERSION, InputTensor, OutputTensor)) {
      PrintFormat("decision.onnx cannot be run: error %d", GetLastError());
      return false;
   }
   for(int i = 0; i < NUM_ACTIONS; i++) {
      if(!MathIsValidNumber(OutputTensor[i]))
         return false;
      action.values[i] = OutputTensor[i];
   }
   return true;
}
