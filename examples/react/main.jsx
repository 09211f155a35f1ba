import { createRoot } from 'react-dom/client';
import { Story } from './Story.jsx';

createRoot(document.getElementById('root')).render(<Story />);
